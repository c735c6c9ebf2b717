"""Adapters in and out: folders of Hugging Face's PEFT, and KerasHub's files."""

from jtransfer.weights.adapters.load import Loaded, load

__all__ = ["Loaded", "load"]
