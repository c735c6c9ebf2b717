"""Proof of a conversion: a model's stages beside those of the library that its weights come from."""
