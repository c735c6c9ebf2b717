"""Tokenizers from the files beside pretrained weights: from texts to the ids that the model knows, and back."""

from jtransfer.modalities.text.tokenizers.files import open
from jtransfer.modalities.text.tokenizers.fit import check
from jtransfer.modalities.text.tokenizers.tokenizer import Encoded, Template, Tokenizer

__all__ = ["Encoded", "Template", "Tokenizer", "check", "open"]
