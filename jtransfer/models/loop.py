"""Runs stages in a row that compute the same, each with parameters of its own, as one loop."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import Scope
from jax.core import Tracer

Part = Callable[..., nn.Module]
_ADDRESS = re.compile(r"0x[0-9a-f]+")


class Loop:
    """Finds and runs the loops within one call of a chain.

    Two stages compute the same if their variables have the same shapes and are differentiated alike, and if their
    computations, each traced at its own path, have the same jaxpr. So an interceptor that treats one of them in another
    way, such as one that freezes it, keeps them apart.

    Args:
      chain: The bound chain.
      train: As in a call of the chain.
      remat: Whether what a stage computes inside is computed again for the gradient instead of being kept.
    """

    def __init__(self, chain: nn.Module, train: bool, remat: bool):
        assert chain.scope is not None, "bind the chain first"
        self.chain, self.train, self.remat, self.streams = chain, train, remat, tuple(chain.scope.rngs)
        self.variables = chain.variables

    def count(self, parts: Sequence[tuple[str, Part]], x: Any) -> int:
        """How many of the stages, from the first on, compute the same and return what has the shapes of x.

        Args:
          parts: Names and constructors of stages in a row.
          x: What the first of them is given.
        """
        kinds = [self._kind(name) for name, _ in parts]
        alike = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), len(kinds))
        if alike < 2 or not kinds[0][1]:
            return 1
        first, out = self._trace(*parts[0], x)
        if jax.tree.map(_aval, out) != jax.tree.map(_aval, x):
            return 1
        others = (self._trace(name, part, x)[0] for name, part in parts[1:alike])
        return next((i for i, other in enumerate(others, 1) if not _same(first, other)), alike)

    def run(self, names: Sequence[str], part: Part, x: Any) -> Any:
        """Runs stages that compute the same, one after the other.

        Args:
          names: The names of the stages.
          part: The constructor of the first one.
          x: What the first one is given.

        Returns:
          What the last one returns.
        """

        def body(x, own):
            variables, keys = own
            return self._call(names[0], part, variables, keys, x), None

        keys = {stream: jax.random.split(self.chain.make_rng(stream), len(names)) for stream in self.streams}
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(self._own(name) for name in names))
        body = jax.checkpoint(body, prevent_cse=False) if self.remat else body
        return jax.lax.scan(body, x, (stacked, keys))[0]

    def _own(self, name: str) -> dict[str, Any]:
        return {kind: tree[name] for kind, tree in self.variables.items() if name in tree}

    def _kind(self, name: str) -> tuple:
        leaves, structure = jax.tree.flatten(self._own(name))
        return structure, [(type(leaf), leaf.shape, leaf.dtype) for leaf in leaves]

    def _call(self, name: str, part: Part, variables: dict[str, Any], keys: dict[str, Any], x: Any) -> Any:
        scope = Scope(variables, keys, name, path=(*self.chain.path, name))
        return part(parent=scope)(x, train=self.train)

    def _trace(self, name: str, part: Part, x: Any) -> tuple[Any, Any]:
        keys = dict.fromkeys(self.streams, jax.random.key(0))
        call = jax.make_jaxpr(lambda *given: self._call(name, part, *given), return_shape=True)
        return call(self._own(name), keys, x)


def _aval(leaf: Any) -> tuple:
    return leaf.shape, leaf.dtype


def _same(a: Any, b: Any) -> bool:
    pairs = zip(a.consts, b.consts, strict=False)
    texts = (_ADDRESS.sub("", str(closed.jaxpr)) for closed in (a, b))
    return len(a.consts) == len(b.consts) and all(_equal(*pair) for pair in pairs) and len(set(texts)) == 1


def _equal(a: Any, b: Any) -> bool:
    if a is b or isinstance(a, Tracer) or isinstance(b, Tracer):
        return a is b
    return np.array_equal(a, b)
