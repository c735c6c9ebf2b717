"""Tokenizers from the files that travel with weights: texts to the ids that a pretrained model knows, and back."""

from jtransfer.modalities.text.tokenizers.files import open
from jtransfer.modalities.text.tokenizers.tokenizer import Encoded, Template, Tokenizer, check

__all__ = ["Encoded", "Template", "Tokenizer", "check", "open"]
