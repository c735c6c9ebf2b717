"""A pipeline turns an example into a row of token ids, and rows into batches."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError

Row = dict[str, Any]
_NARROWEST = 32


class Counts(NamedTuple):
    """What became of the texts of an example.

    Attributes:
      tokens: The number of tokens.
      truncated: The number of tokens that were cut off.
      unknown: The number of tokens that stand for what the vocabulary lacks.
      empty: Whether a text is empty.
    """

    tokens: int
    truncated: int
    unknown: int
    empty: bool


@dataclasses.dataclass(frozen=True, eq=False)
class TextPipeline:
    """The transform of examples of texts, for `train_batches`.

    Attributes:
      encode: A function from an example to its row and its counts.
      buckets: The widths that batches may have, in tokens, growing: pairs of that of the inputs and that of the
        decoder's.
      pad: The id that pads `input_ids` and `decoder_input_ids`.
      encode_alone: A function from examples to the ids of their rows, where a row is no more than these and a label; or
        None.
      typed: Whether these rows have `token_type_ids`, which are zeros.
    """

    encode: Callable[[Mapping[str, Any]], tuple[Row, Counts]]
    buckets: tuple[tuple[int, int], ...]
    pad: int
    encode_alone: Callable[[Sequence[Mapping[str, Any]]], list[list[int]]] | None = None
    typed: bool = False

    random = False  # the same example gives the same row each time

    def __call__(self, example: Mapping[str, Any], rng: np.random.Generator | None = None) -> Row:
        """Returns the row of an example, `{"inputs": {name: int32 [n]}, "label": …}`; pairs to compare have [2, n]."""
        return self.encode(example)[0]

    def deterministic(self) -> "TextPipeline":
        """Returns the pipeline itself, which is not random."""
        return self

    def of_one_width(self) -> "TextPipeline":
        """Returns a pipeline whose batches are all as wide as the widest bucket."""
        return dataclasses.replace(self, buckets=self.buckets[-1:])

    def lengths(self, row: Row) -> tuple[int, int]:
        """Returns the numbers of tokens of a row's inputs and of its decoder's inputs, or 0 if it has none."""
        decoder = row["inputs"].get("decoder_input_ids", np.empty(0))
        return row["inputs"]["input_ids"].shape[-1], decoder.shape[-1]

    def batch(
        self, examples: Sequence[Mapping[str, Any]], size: int, whole: Sequence[Mapping[str, Any]] | None = None
    ) -> Row:
        """Returns at least one example as a batch, as `collate` makes it of their rows, in less time.

        Args:
          examples: The examples.
          size: The number of rows of the batch.
          whole: All examples of the batch where other processes have parts of it, so that all choose the same width.
        """
        if self.encode_alone is None or any("text_pair" in example for example in (*examples, *(whole or ()))):
            lengths = None if whole is None else [self.lengths(self(example)) for example in whole]
            return self.collate([self(example) for example in examples], size, lengths)
        examples = [*examples, *[examples[0]] * (size - len(examples))]
        rows = self.encode_alone(examples)
        counts = np.fromiter(map(len, rows), np.int32)
        longest = counts.max() if whole is None else max(map(len, self.encode_alone(whole)))
        width, _ = self._widths([(int(longest), 0)])
        there = np.arange(width) < counts[:, None]
        ids = np.full(there.shape, self.pad, np.int32)
        ids[there] = np.fromiter(itertools.chain.from_iterable(rows), np.int32)
        inputs = {"input_ids": ids, "attention_mask": there.astype(np.int32)}
        inputs |= {"token_type_ids": np.zeros_like(ids)} if self.typed else {}
        return {"inputs": inputs, "label": np.stack([label_of(example) for example in examples])}

    def collate(
        self, rows: Sequence[Row], size: int | None = None, lengths: Sequence[tuple[int, int]] | None = None
    ) -> Row:
        """Returns rows as one batch.

        Args:
          rows: At least one row.
          size: The number of rows B of the batch; copies of the first row fill it up. By default that of `rows`.
          lengths: The lengths of all rows of the batch where other processes have parts of it, so that all choose the
            same width. By default those of `rows`.

        Returns:
          `{"inputs": {name: int32 [B, n]}, "label": …}`, with labels int32 [B] or [B, n], or float32 [B] or [B, C].

        Raises:
          InputError: A row is longer than the widest bucket.
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


def label_of(example: Mapping[str, Any]) -> np.ndarray:
    """Returns the label of an example as int32, or as float32 where it is no whole number; zero if it has none."""
    label = np.asarray(example.get("label", 0))
    return label.astype(np.float32 if label.dtype.kind == "f" else np.int32)


def buckets(length: int, target_length: int = 0) -> tuple[tuple[int, int], ...]:
    """Returns pairs of widths that grow together: 32, 64, 128, … up to the greatest lengths.

    Args:
      length: The greatest length of inputs.
      target_length: The greatest length of a decoder's inputs.
    """
    widths, width = [], _NARROWEST
    while width < max(length, target_length):
        widths.append((min(width, length), min(width, target_length)))
        width *= 2
    return (*widths, (length, target_length))


def stacked(rows: Sequence[np.ndarray], width: int, fill: int) -> np.ndarray:
    """Stacks arrays of different lengths.

    Args:
      rows: Arrays […, n].
      width: The length of the result.
      fill: The value that fills them up at their ends.

    Returns:
      int32 [B, …, width].
    """
    out = np.full((len(rows), *rows[0].shape[:-1], width), fill, np.int32)
    for line, row in zip(out, rows, strict=True):
        line[..., : row.shape[-1]] = row
    return out
