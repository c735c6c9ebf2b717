"""A data source: numbered examples with labels, in random access; and sources made of parts of others."""

import bisect
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import SupportsIndex

import numpy as np

from jtransfer.core.errors import InputError

_WITHOUT = {
    "tags": "each word has its own; choose a method that needs no labels of examples",
    "none": "they are texts alone; name a column with data.label_key if they have one",
}


class Declined(InputError):
    """The error of a reader for data of another modality than its own; another reader may take them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """`len(source)` examples; `source[i]` is a dict such as `{"image": uint8 [H, W, C], "label": int}`.

    Of vectors it is `{"vector": float32 [d], "label": …}`. Of texts it is `{"text": str, "label": …}`, with `text_pair`
    for two, `{"text": str, "target": str}`, or `{"tokens": list of str, "label": list of int}`.

    Attributes:
      size: the number of examples.
      read: example number `0 <= i < size` as a dict; called from several threads.
      class_names: the names of labels 0, 1, ….
      read_labels: the labels of examples `start` to `stop` (excluded), without decoding the images.
      label_kind: what an example's label is: a "class" (int), a "number" (float: regression), several "classes"
        (float32 [C], each 0 to 1), "tags" (a class for each word, -1 for none), or "none".
    """

    size: int
    read: Callable[[int], dict]
    class_names: list[str]
    read_labels: Callable[[int, int], np.ndarray]
    label_kind: str = "class"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: SupportsIndex) -> dict:
        i = operator.index(index)
        if not -self.size <= i < self.size:
            raise IndexError(f"example {i} of {self.size}")
        return self.read(i % self.size)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """The labels of all examples: int32 [N] of classes, float32 [N] of numbers, float32 [N, C] of several classes.

        They are read at the first use, and kept.

        Raises:
          InputError: A class is out of range, or the examples do not have one label each.
        """
        if self.label_kind in ("tags", "none"):
            raise InputError("the examples have no label each: " + _WITHOUT[self.label_kind])
        if self.label_kind != "class":
            return np.asarray(self.read_labels(0, self.size), np.float32)
        labels = np.asarray(self.read_labels(0, self.size), np.int32)
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if outside.size:
            i = outside[0]
            raise InputError(f"example {i} has label {labels[i]}; the classes are 0 to {len(self.class_names) - 1}")
        return labels


def concatenate(pieces: Sequence[tuple[Source, int, int]]) -> Source:
    """Returns pieces of sources, one after the other, as one source.

    Args:
      pieces: Triples (source, start, stop) of a source and the numbers of the first example that is taken and of the
        first after it that is not. All sources have the classes of the first one.
    """
    lengths = [stop - start for _, start, stop in pieces]
    ends = list(itertools.accumulate(lengths))

    def read(index: int) -> dict:
        piece = bisect.bisect_right(ends, index)
        whole, start, _ = pieces[piece]
        return whole.read(start + index - (ends[piece] - lengths[piece]))

    def read_labels(start: int, stop: int) -> np.ndarray:
        every = [np.asarray(whole.read_labels(first, last)) for whole, first, last in pieces]
        return np.concatenate(every)[start:stop]

    return Source(ends[-1], read, pieces[0][0].class_names, read_labels, pieces[0][0].label_kind)


def subsample(source: Source, most: int) -> Source:
    """Returns a source of at most `most` examples of another one, evenly spread over it."""
    chosen = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int)).tolist()
    return concatenate([(source, i, i + 1) for i in chosen])


def unlabelled(size: int, read: Callable[[int], dict]) -> Source:
    """Returns a source of examples without labels, such as texts to model or to translate.

    Args:
      size: The number of examples.
      read: A function from the number of an example to what it holds.
    """

    def read_labels(start: int, stop: int) -> np.ndarray:
        raise InputError("the examples have no label each: " + _WITHOUT["none"])

    return Source(size, read, [], read_labels, "none")
