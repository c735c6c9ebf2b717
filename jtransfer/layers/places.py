"""Where the examples and heads of a program's arrays are, so that it is divided among devices as it is meant to be."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


class Places(NamedTuple):
    """Where examples and heads are: a mesh, the axes of examples, and the axis of heads, if any."""

    mesh: Mesh
    batch: tuple[str, ...]
    heads: str | None

    @property
    def ways(self) -> int:
        """Among how many devices the examples are divided."""
        return math.prod(self.mesh.shape[axis] for axis in self.batch)


_PLACES: ContextVar[Places | None] = ContextVar("places", default=None)


@contextmanager
def divided(mesh: Mesh, batch: tuple[str, ...], heads: str | None = None) -> Iterator[None]:
    """A context in which programs are traced for a mesh whose devices have examples and heads of their own.

    Args:
      mesh: The mesh.
      batch: The axes that examples are divided along.
      heads: The axis that heads are divided along, where their number allows.
    """
    token = _PLACES.set(Places(mesh, batch, heads))
    try:
        yield
    finally:
        _PLACES.reset(token)


def told() -> Places | None:
    """Returns what the context says, or None."""
    return _PLACES.get()


def examples_stay(x: Any, count: Any) -> Any:
    """Returns a pytree of arrays as it is, and tells the compiler that each example stays on its device.

    Without it the compiler may follow the parameters where these are divided along the axes of examples, as by "fsdp":
    it then divides features along them, and every device computes with all examples.

    Args:
      x: The arrays, of which those of [count, …] have a row for each example.
      count: The number of examples, which outside of such a context may be a symbol.
    """
    places = told()
    if places is None or places.ways == 1 or count % places.ways:
        return x

    def stay(leaf: Any) -> Any:
        if jax.numpy.shape(leaf)[:1] != (count,):
            return leaf
        free = (P.UNCONSTRAINED,) * (leaf.ndim - 1)
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(places.mesh, P(places.batch, *free)))

    return jax.tree.map(stay, x)
