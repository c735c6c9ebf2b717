"""Embeddings that a file may hold more than once, under the names of all that use them."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.weights.mapping import Map, Scheme, Transform

_ROWS = 1024  # compared at once


def schemes(
    name: str, embedding: Map, copies: Sequence[str], rows: Sequence[Map], ignore: Sequence[str]
) -> Iterator[Scheme]:
    """The schemes of all files that hold some of the `copies`, first of those with none.

    Args:
      name: of the scheme.
      embedding: the row of the tensor that they are copies of.
      copies: names of tensors.
      rows, ignore: what all have beside.
    """
    for count in range(len(copies) + 1):
        for held in combinations(copies, count):
            named = f"{name} with {', '.join(held)}" if held else name
            row = Map((embedding.source, *held), embedding.params, _copied(embedding.source, *held))
            yield Scheme(named, (row if held else embedding, *rows), tuple(ignore))


def _copied(name: str, *copies: str) -> Transform:
    def first(embedding: np.ndarray, *others: np.ndarray) -> np.ndarray:
        for copy, other in zip(copies, others, strict=True):
            if not _same(embedding, other):
                raise InputError(f"{copy} is not {name}, and this model has one tensor for the two")
        return embedding

    return Transform(first, lambda embedding: (embedding,) * (1 + len(copies)))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    pieces = range(0, len(a), _ROWS)
    return a.shape == b.shape and all(np.array_equal(a[i : i + _ROWS], b[i : i + _ROWS]) for i in pieces)
