"""Adapters in and out: folders of Hugging Face's PEFT, and KerasHub's files."""
