"""A pipeline from an example to a row of token ids, and rows to batches."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError

Row = dict[str, Any]
_NARROWEST = 32


class Counts(NamedTuple):
    """What became of an example's texts: tokens, those cut off, those unknown; whether a text is empty."""

    tokens: int
    truncated: int
    unknown: int
    empty: bool


@dataclasses.dataclass(frozen=True, eq=False)
class TextPipeline:
    """What `train_batches` takes for texts.

    Attributes:
      encode: an example to a row and its counts.
      buckets: widths of a batch in tokens, growing: of the inputs, and of what a decoder gets.
      pad: fills `input_ids` and `decoder_input_ids`.
    """

    encode: Callable[[Mapping[str, Any]], tuple[Row, Counts]]
    buckets: tuple[tuple[int, int], ...]
    pad: int

    random = False  # the same example gives the same row each time

    def __call__(self, example: Mapping[str, Any], rng: np.random.Generator | None = None) -> Row:
        """`{"inputs": {name: int32 [n]}, "label": …}`; pairs to compare have [2, n]."""
        return self.encode(example)[0]

    def deterministic(self) -> "TextPipeline":
        """Itself."""
        return self

    def of_one_width(self) -> "TextPipeline":
        """The same with the widest bucket alone."""
        return dataclasses.replace(self, buckets=self.buckets[-1:])

    def lengths(self, row: Row) -> tuple[int, int]:
        """How many tokens the inputs of a row have, and what its decoder gets; 0 if it has none."""
        decoder = row["inputs"].get("decoder_input_ids", np.empty(0))
        return row["inputs"]["input_ids"].shape[-1], decoder.shape[-1]

    def collate(
        self, rows: Sequence[Row], size: int | None = None, lengths: Sequence[tuple[int, int]] | None = None
    ) -> Row:
        """Rows as one batch.

        Args:
          rows: at least one.
          size: B; what is missing is filled with copies of the first row.
          lengths: of all rows of the global batch, where other processes have some of them, so that all choose the
            same width.

        Returns:
          `{"inputs": {name: int32 [B, n]}, "label": int32 [B], [B, n] or float32 [B], [B, C]}`.
        """
        width, target_width = self._widths(lengths or [self.lengths(row) for row in rows])
        rows = [*rows, *[rows[0]] * ((size or len(rows)) - len(rows))]
        inputs = {
            name: stacked(
                [row["inputs"][name] for row in rows],
                target_width if name.startswith("decoder_") else width,
                self.pad if name.endswith("input_ids") else 0,
            )
            for name in rows[0]["inputs"]
        }
        labels = [row["label"] for row in rows]
        if labels[0].ndim == 1 and labels[0].dtype == np.int32:  # of tokens
            label_width = target_width if "decoder_input_ids" in inputs else width
            return {"inputs": inputs, "label": stacked(labels, label_width, -1)}
        return {"inputs": inputs, "label": np.stack(labels)}

    def _widths(self, lengths: Sequence[tuple[int, int]]) -> tuple[int, int]:
        longest = max(n for n, _ in lengths), max(m for _, m in lengths)
        for width in self.buckets:
            if longest[0] <= width[0] and longest[1] <= width[1]:
                return width
        raise InputError(f"a row of {longest} tokens is longer than the widest bucket {self.buckets[-1]}")


def buckets(length: int, target_length: int = 0) -> tuple[tuple[int, int], ...]:
    """Widths of inputs and targets that grow together: 32, 64, 128, … up to the greatest length of each."""
    widths, width = [], _NARROWEST
    while width < max(length, target_length):
        widths.append((min(width, length), min(width, target_length)))
        width *= 2
    return (*widths, (length, target_length))


def stacked(rows: Sequence[np.ndarray], width: int, fill: int) -> np.ndarray:
    """Arrays `[…, n]` as one `[B, …, width]`, filled up at the end."""
    out = np.full((len(rows), *rows[0].shape[:-1], width), fill, np.int32)
    for line, row in zip(out, rows, strict=True):
        line[..., : row.shape[-1]] = row
    return out
