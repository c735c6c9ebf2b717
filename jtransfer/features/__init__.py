"""The frozen first stages of a model, computed once: their outputs are a data source."""

from jtransfer.features.prefix import extract, first_trained, source_of

__all__ = ["extract", "first_trained", "source_of"]
