"""What becomes of the texts of a source: how long they are, and what is cut off, unknown or empty."""

from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, subsample
from jtransfer.modalities.text.pipeline import TextPipeline

_MOST_UNKNOWN = 0.5  # of the tokens


class TextStatistics(NamedTuple):
    """What a tokenizer makes of some examples of a source, counted."""

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
    """Counts over all examples, or over `most` of them evenly spread: what is cut off, unknown or empty.

    Raises:
      InputError: all texts are empty, or most of their tokens are unknown; or an example cannot be read.
    """
    some = subsample(source, most)
    counts = [pipeline.encode(some[i])[1] for i in range(len(some))]
    found = TextStatistics(
        examples=len(source),
        examined=len(counts),
        tokens=sum(count.tokens for count in counts),
        truncated=sum(count.truncated > 0 for count in counts),
        unknown=sum(count.unknown for count in counts),
        empty=sum(count.empty for count in counts),
    )
    if found.empty == found.examined:
        raise InputError(f"all {found.examined:,} texts that were looked at are empty; check data.text_key")
    if found.unknown > _MOST_UNKNOWN * found.tokens:
        raise InputError(f"the tokenizer does not know these texts: {found}; is it the one for their language?")
    return found
