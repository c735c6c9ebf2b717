"""AdapterFusion (Pfeiffer et al. 2020, arXiv:2005.00247): attention from a module's output to what several trained
bottlenecks, which stay as they are, would add to it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import bottleneck, slots, stream
from jtransfer.peft.init import STACKED
from jtransfer.peft.method import FIXED, Method, Site

SLOT = "fusion"


def fuse(key: jax.Array, adapters: Mapping[str, trees.Tree]) -> dict[str, Any]:
    """Returns adapters in which the bottlenecks of several others are fused, module by module.

    What is trained are `query`, `key` and `value` [d, d] of each module; the bottlenecks are not.

    Args:
      key: a random key; queries and keys are drawn, and values begin as the identity.
      adapters: name → the collection "adapters" of a training; all have a "bottleneck" at the same modules.

    Raises:
      InputError: there are adapters of another method, or at other modules than the others'.
    """
    found = {
        name: {path: _bottleneck(path, slot, own) for path, slot, own in slots.split(tree)}
        for name, tree in adapters.items()
    }
    paths = {path for owns in found.values() for path in owns}
    for name, owns in found.items():
        if missing := sorted(paths - owns.keys()):
            raise InputError(f"adapters {name!r} have no bottleneck at {missing[0]}, where others have one")
    for name in adapters:
        if slots.is_slot(name):
            raise InputError(f"adapters can't be fused as {name!r}, which is the name of a method; rename them")
    fused: dict[str, Any] = {}
    for number, path in enumerate(sorted(paths)):
        experts = {name: owns[path] for name, owns in found.items()}
        own = _begin(jax.random.fold_in(key, number), experts)
        fused |= {f"{path}/{SLOT}/{name}": leaf for name, leaf in trees.flatten(own).items()}
    return trees.unflatten(fused)


def _bottleneck(path: str, slot: str, own: dict[str, Any]) -> dict[str, Any]:
    if slots.method_of(slot) is not bottleneck.METHOD:
        raise InputError(f"{path}: a fusion is made of bottlenecks, and {slot!r} is none")
    return own


def _begin(key: jax.Array, experts: Mapping[str, Any]) -> dict[str, Any]:
    up = next(leaf for path, leaf in trees.flatten(experts).items() if path.endswith("/up"))
    *stack, _, features = up.shape
    query, keys = (0.02 * jax.random.normal(k, (*stack, features, features)) for k in jax.random.split(key))
    value = jnp.broadcast_to(jnp.eye(features), query.shape)
    fixed = {"experts": dict(experts)} | ({STACKED: jnp.zeros(stack)} if stack else {})
    return {"query": query, "key": keys, "value": value, FIXED: fixed}


def init(key: jax.Array, site: Site, params: Mapping[str, Any]) -> dict[str, Any]:
    """None: a fusion is made by `fuse`."""
    raise InputError(serves(site))


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns, and the sum of what the bottlenecks would add, weighted at each position."""
    y = call(*args, **kwargs)
    x = stream.read(y)
    added = jnp.stack([bottleneck.change(module, one, x) for one in own[FIXED]["experts"].values()], axis=-2)
    query, key, value = (own[name].astype(x.dtype) for name in ("query", "key", "value"))
    weights = jax.nn.softmax(jnp.einsum("...d,...nd->...n", x @ query, added @ key).astype(jnp.float32))
    return stream.write(y, x + jnp.einsum("...n,...nd->...d", weights.astype(x.dtype), added @ value))


def serves(site: Site) -> str:
    """Why no row of a table makes a fusion."""
    return "a fusion is made of adapters that are trained, by peft.fuse"


METHOD = Method(init, apply, serves)
