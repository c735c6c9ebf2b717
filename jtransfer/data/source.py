"""A data source: numbered examples with labels, in random access; and sources made of parts of others."""

import bisect
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from jtransfer.core.errors import InputError

_WITHOUT = {
    "tags": "each word has its own; choose a method that needs no labels of examples",
    "none": "choose a task that needs none, or name their labels with data.label_key",
}


class Declined(InputError):
    """The error of a reader for data of another modality than its own; another reader may take them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A data set in random access: `len(source)` is its number of examples, and `source[i]` is one of them, a dict.

    An image is `{"image": uint8 [H, W, C], "label": …}` and a vector `{"vector": float32 [d], "label": …}`. A text is
    `{"text": str, "label": …}`, and has `text_pair` if two texts belong together. A text to translate is
    `{"text": str, "target": str}`, and one whose words are tagged `{"tokens": list of str, "label": list of int}`.

    Attributes:
      size: The number of examples.
      read: A function from the number of an example, `0 <= i < size`, to the example. Several threads call it.
      class_names: The names of the classes, in the order of their numbers.
      read_labels: A function from `start` and `stop` to the labels of the examples from `start` up to, but without,
        `stop`. It reads labels only; no image is decoded.
      label_kind: What the label of an example is: "class" (int), "number" (float, for regression), "classes" (float32
        [C], a value from 0 to 1 for each class), "tags" (list of int: the class of each word, -1 where it has none), or
        "none".
      column: A function from the name of a column, or of a feature, to its values, one for each example, by which
        examples can be grouped. It raises InputError if there is no such column. None if the data have none.
      fingerprint: A function from the number of an example to what tells it from others and is read faster than the
        example, such as a digest of its file. None if there is nothing faster.
      numbers: int64 [size], the number of each example in its data set, of a source that an expression of splits has
        selected.
      files: The paths of the files that hold the examples, where these are not files of their own; none if the source
        does not know them.
      notes: What was guessed of the data, left out of them, or looks odd, a line each, which a run prints at its start.
    """

    size: int
    read: Callable[[int], dict]
    class_names: list[str]
    read_labels: Callable[[int, int], np.ndarray]
    label_kind: str = "class"
    column: Callable[[str], Sequence] | None = None
    fingerprint: Callable[[int], Any] | None = None
    numbers: np.ndarray | None = None
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
            none = "; -1 stands for none: set data.missing='drop' to leave such examples out" if labels[i] == -1 else ""
            raise InputError(
                f"example {i} has label {labels[i]}; the classes are 0 to {len(self.class_names) - 1}{none}"
            )
        return labels


def concatenate(pieces: Sequence[tuple[Source, int, int]]) -> Source:
    """Returns pieces of sources, one after the other, as one source.

    Args:
      pieces: Triples (source, start, stop) of a source and the numbers of the first example that is taken and of the
        first after it that is not. All sources have the classes of the first one.
    """
    lengths = [stop - start for _, start, stop in pieces]
    ends = list(itertools.accumulate(lengths))

    def of_piece(function: str) -> Callable[[int], Any]:
        def at(index: int) -> Any:
            piece = bisect.bisect_right(ends, index)
            whole, start, _ = pieces[piece]
            return getattr(whole, function)(start + index - (ends[piece] - lengths[piece]))

        return at

    def read_labels(start: int, stop: int) -> np.ndarray:
        every, offset = [], 0
        for whole, first, last in pieces:
            low, high = max(start - offset, 0), min(stop - offset, last - first)
            if low < high:
                every.append(np.asarray(whole.read_labels(first + low, first + high)))
            offset += last - first
        return np.concatenate(every) if every else np.asarray(pieces[0][0].read_labels(0, 0))

    def column(name: str) -> list:
        return [value for whole, first, last in pieces for value in whole.column(name)[first:last]]  # pyright: ignore

    def has(attribute: str) -> bool:
        return all(getattr(whole, attribute) is not None for whole, _, _ in pieces)

    first = pieces[0][0]
    return Source(
        ends[-1],
        of_piece("read"),
        first.class_names,
        read_labels,
        first.label_kind,
        column=column if has("column") else None,
        fingerprint=of_piece("fingerprint") if has("fingerprint") else None,
        numbers=np.concatenate([s.numbers[a:b] for s, a, b in pieces]) if has("numbers") else None,  # pyright: ignore
        files=tuple(dict.fromkeys(file for whole, _, _ in pieces for file in whole.files)),
        notes=tuple(dict.fromkeys(note for whole, _, _ in pieces for note in whole.notes)),
    )


def picked(source: Source, numbers: np.ndarray) -> Source:
    """Returns some examples of a source as a source.

    Args:
      source: The examples.
      numbers: int64 [n], the numbers of those that are taken, in the order that they are to have.
    """
    column, fingerprint, chosen = source.column, source.fingerprint, numbers.tolist()

    @functools.cache
    def labels() -> Any:
        return np.asarray(source.read_labels(0, len(source)))[numbers]

    def of_column(name: str) -> list:
        assert column is not None
        values = column(name)
        return [values[i] for i in chosen]

    return dataclasses.replace(
        source,
        size=len(chosen),
        read=lambda i: source.read(chosen[i]),
        read_labels=lambda start, stop: labels()[start:stop],
        column=column and of_column,
        fingerprint=fingerprint and (lambda i: fingerprint(chosen[i])),
        numbers=None if source.numbers is None else source.numbers[numbers],
    )


def spread(size: int, most: int) -> list[int]:
    """Returns the numbers of at most `most` of `size` examples, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, size - 1, min(most, size)).astype(int)).tolist() if size else []


def subsample(source: Source, most: int) -> Source:
    """Returns a source of at most `most` examples of another one, evenly spread over it."""
    return concatenate([(source, i, i + 1) for i in spread(len(source), most)])


def unlabelled(size: int, read: Callable[[int], dict], notes: tuple[str, ...] = ()) -> Source:
    """Returns a source of examples without labels, such as texts to model or to translate.

    Args:
      size: The number of examples.
      read: A function from the number of an example to what it holds.
      notes: As in `Source`.
    """

    def read_labels(start: int, stop: int) -> np.ndarray:
        raise InputError("the examples have no label each: " + _WITHOUT["none"])

    return Source(size, read, [], read_labels, "none", notes=notes)
