"""A source: numbered examples with labels, and pieces of it."""

import bisect
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence

import numpy as np

from jtransfer.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """`len(source)` examples; `source[i]` is a dict such as `{"image": uint8 [H, W, C], "label": int}`.

    Attributes:
      size: the number of examples.
      read: example number `0 <= i < size` as a dict; called from several threads.
      class_names: the names of labels 0, 1, ….
      read_labels: the labels of examples `start` to `stop` (excluded), without decoding the images.
    """

    size: int
    read: Callable[[int], dict]
    class_names: list[str]
    read_labels: Callable[[int, int], np.ndarray]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        index = operator.index(index)
        if not -self.size <= index < self.size:
            raise IndexError(f"example {index} of {self.size}")
        return self.read(index % self.size)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [N], all labels; read at the first use and kept."""
        labels = np.asarray(self.read_labels(0, self.size), np.int32)
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if outside.size:
            i = outside[0]
            raise InputError(f"example {i} has label {labels[i]}; the classes are 0 to {len(self.class_names) - 1}")
        return labels


def concatenate(pieces: Sequence[tuple[Source, int, int]]) -> Source:
    """Examples `start` to `stop` (excluded) of each source, one piece after the other, as one source."""
    lengths = [stop - start for _, start, stop in pieces]
    ends = list(itertools.accumulate(lengths))

    def read(index: int) -> dict:
        piece = bisect.bisect_right(ends, index)
        whole, start, _ = pieces[piece]
        return whole.read(start + index - (ends[piece] - lengths[piece]))

    def read_labels(start: int, stop: int) -> np.ndarray:
        every = [np.asarray(whole.read_labels(first, last), np.int32) for whole, first, last in pieces]
        return np.concatenate(every)[start:stop]

    return Source(ends[-1], read, pieces[0][0].class_names, read_labels)
