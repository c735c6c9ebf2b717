"""Pipelines from examples of texts to the inputs of a model, and batches of a few widths, so that a step compiles a few
times only.

A pipeline is called with an example and gives `{"inputs": {name: int32 [n]}, "label": …}`, with arrays as long as the
text; `collate` stacks them, filled up to the narrowest bucket that holds the longest. A label of a token is -1 where no
loss is to be taken: on padding, special tokens, all but the first token of a word, and prompts.
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
