"""Counts what a tokenizer makes of the texts of a source: their lengths, and what is cut off, unknown or empty."""

from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, subsample
from jtransfer.modalities.text.pipeline import TextPipeline

_MOST_UNKNOWN = 0.5  # of the tokens


class TextStatistics(NamedTuple):
    """Counts of what a tokenizer makes of texts.

    Attributes:
      examples: The number of examples of the source.
      examined: The number of examples that were encoded.
      tokens: The number of their tokens.
      truncated: The number of examples that were cut off.
      unknown: The number of tokens that stand for what the vocabulary lacks.
      empty: The number of examples with an empty text.
    """

    examples: int
    examined: int
    tokens: int
    truncated: int
    unknown: int
    empty: int

    def __str__(self) -> str:
        n = self.examined
        some = f"{n:,} of {self.examples:,} texts" if n < self.examples else f"{n:,} texts"
        return (
            f"{some}: {self.tokens / n:.1f} tokens on average, {self.truncated:,} cut to fit "
            f"({self.truncated / n:.1%}), {self.unknown:,} unknown tokens "
            f"({self.unknown / max(self.tokens, 1):.2%}), {self.empty:,} empty"
        )


def text_statistics(source: Source, pipeline: TextPipeline, most: int = 2000) -> TextStatistics:
    """Counts what a pipeline makes of the texts of a source.

    Args:
      source: The examples.
      pipeline: The pipeline.
      most: The largest number of examples to encode, evenly spread over the source.

    Raises:
      InputError: All texts are empty, most of their tokens are unknown, or an example can't be read.
    """
    some = subsample(source, most)
    counts = [pipeline.encode(some[i])[1] for i in range(len(some))]
    counted = TextStatistics(
        examples=len(source),
        examined=len(counts),
        tokens=sum(count.tokens for count in counts),
        truncated=sum(count.truncated > 0 for count in counts),
        unknown=sum(count.unknown for count in counts),
        empty=sum(count.empty for count in counts),
    )
    if counted.empty == counted.examined:
        raise InputError(f"all {counted.examined:,} texts that were looked at are empty; check data.text_key")
    if counted.unknown > _MOST_UNKNOWN * counted.tokens:
        raise InputError(f"the tokenizer does not know these texts: {counted}; is it the one for their language?")
    return counted
