"""Texts: their readers, their tokenizers, and pipelines from examples of texts to the inputs of a model.

A pipeline is called with an example and returns `{"inputs": {name: int32 [n]}, "label": …}`, with arrays as long as the
text. Its `collate` stacks them, padded to one of a few widths, so that a step is compiled a few times only. The label
of a token is -1 where it has no loss: for padding, special tokens, all but the first token of a word, and prompts.
"""

from jtransfer.modalities.text.forms import causal, pair, prompt, rows, seq2seq, single, tokens
from jtransfer.modalities.text.packing import packed
from jtransfer.modalities.text.pipeline import Counts, TextPipeline, buckets
from jtransfer.modalities.text.statistics import TextStatistics, text_statistics

__all__ = [
    "Counts",
    "TextPipeline",
    "TextStatistics",
    "buckets",
    "causal",
    "packed",
    "pair",
    "prompt",
    "rows",
    "seq2seq",
    "single",
    "text_statistics",
    "tokens",
]
