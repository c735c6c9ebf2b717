"""The frozen prefix of a model, computed once: its outputs are a data source of their own."""

from jtransfer.features.prefix import Features, extract, first_trained

__all__ = ["Features", "extract", "first_trained"]
