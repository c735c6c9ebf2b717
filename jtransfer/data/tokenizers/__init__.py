"""Tokenizers from the files that travel with weights: texts to the ids that a pretrained model knows, and back."""

from jtransfer.data.tokenizers.files import open
from jtransfer.data.tokenizers.tokenizer import Encoded, Template, Tokenizer, check

__all__ = ["Encoded", "Template", "Tokenizer", "check", "open"]
