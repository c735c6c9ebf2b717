"""Embeddings that a file may hold several times, under the names of all layers that use them."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.weights.mapping import Map, Scheme, Transform, as_tuple

_ROWS = 1024  # compared at once


def schemes(
    name: str, embedding: Map, copies: Sequence[str], rows: Sequence[Map], ignore: Sequence[str]
) -> Iterator[Scheme]:
    """The naming schemes of files that hold none, one or more of the copies of an embedding, in this order.

    Args:
      name: The name of the scheme.
      embedding: The row of the embedding.
      copies: The names that its copies have.
      rows: The rows of all other tensors.
      ignore: Regular expressions of names that carry nothing.
    """
    (source,) = as_tuple(embedding.source)
    for count in range(len(copies) + 1):
        for held in combinations(copies, count):
            named = f"{name} with {', '.join(held)}" if held else name
            row = Map((source, *held), embedding.params, _copied(source, *held))
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
