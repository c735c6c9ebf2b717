"""The frozen prefix of a model, computed once: its outputs are a data source of their own."""

from jtransfer.features.prefix import extract, first_trained, source_of

__all__ = ["extract", "first_trained", "source_of"]
