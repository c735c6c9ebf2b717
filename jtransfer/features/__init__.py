"""The frozen prefix of a model, computed once: its outputs are a data source of their own."""
