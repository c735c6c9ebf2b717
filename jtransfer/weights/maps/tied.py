"""Embeddings that a file may hold under any of the names of the layers that use them, or under several."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.weights.mapping import Map, Scheme, Transform, as_tuple

_ROWS = 1024  # compared at once


def schemes(
    name: str,
    embedding: Map,
    copies: Sequence[str],
    rows: Sequence[Map],
    ignore: Sequence[str],
    elsewhere: Sequence[str] = (),
) -> Iterator[Scheme]:
    """The naming schemes of files that hold the embedding under one or more of its names.

    That of the embedding's own name alone comes first.

    Args:
      name: The name of the scheme.
      embedding: The row of the embedding.
      copies: The further names that it may have, beside its own or without it.
      rows: The rows of all other tensors.
      ignore: Regular expressions of names that carry nothing.
      elsewhere: Names among these that hold the embedding where nothing else in the file does: the file is of a model
        with another head, which is tied to it.
    """
    (source,) = as_tuple(embedding.source)
    own = [(source, *held) for held in _subsets(copies)]
    others = [held for held in _subsets(copies) if held]
    for held in own:
        named = f"{name} with {', '.join(held[1:])}" if held[1:] else name
        yield Scheme(named, (_row(embedding, held), *rows), tuple(ignore))
    for held in (*others, *((other,) for other in elsewhere)):
        kept = tuple(rf"(?!{'|'.join(map(re.escape, held))}$)({pattern})" for pattern in ignore)
        yield Scheme(f"{name} with {', '.join(held)} alone", (_row(embedding, held), *rows), kept)


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for count in range(len(names) + 1):
        yield from combinations(names, count)


def _row(embedding: Map, held: tuple[str, ...]) -> Map:
    return Map(held, embedding.params, _copied(*held)) if held[1:] else Map(held[0], embedding.params)


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
