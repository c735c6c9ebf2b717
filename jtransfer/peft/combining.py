"""One adapter out of several: exactly, to a rank, or what they have in common."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.fusion import arithmetic, trimming
from jtransfer.fusion.method import weighted_sum
from jtransfer.fusion.ties import agreed, ties
from jtransfer.peft import factors, fields, merging, slots, stacking
from jtransfer.peft.method import FIXED, Site

WAYS = ("linear", "cat", "svd", "ties", "magnitude", "dare", "dare_ties")
Changes = dict[str, jax.Array]


class _Module(NamedTuple):
    """What several trees have for one module: for each of them, slot → arrays."""

    path: str
    trees: list[dict[str, Any]]

    @property
    def low_rank(self) -> bool:
        """Whether all are factors of a change."""
        return all(slots.method_of(slot).delta is factors.change for tree in self.trees for slot in tree)

    @property
    def fixed(self) -> dict[str, Any]:
        """What the result has fixed."""
        stacked = {stacking.STACKED: jnp.zeros(self.layers)} if self.layers else {}
        return {"scale": jnp.ones(self.layers), **stacked}

    @property
    def layers(self) -> tuple[int, ...]:
        """The leading axes of a module in a scan."""
        own = next(own for tree in self.trees for own in tree.values())
        return own[FIXED][stacking.STACKED].shape if stacking.axes(own) else ()


def combine(
    adapters: Sequence[trees.Tree],
    weights: Sequence[float],
    how: str = "linear",
    *,
    params: trees.Tree | None = None,
    sites: Mapping[str, Site] | None = None,
    rank: int | None = None,
    density: float = 0.5,
    convention: str = "total",
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Returns one adapter out of several, by what each of them adds to the parameters.

    "linear" is the weighted sum of the changes, and exact: low-rank ones have their factors side by side, as "cat"
    demands; others are kept as a whole ("delta"). "svd" is the nearest change of a rank. "ties" and "magnitude" keep
    the greatest numbers of each change, "dare" and "dare_ties" a random share, each of the product of the factors, not
    of the factors; their result is kept as a whole, or with `rank` as the nearest change of that rank.

    Args:
      adapters: collections. A module that one of them does not adapt is not changed by it.
      weights: a number for each.
      how: "linear", "cat", "svd", "ties", "magnitude", "dare" or "dare_ties".
      params: of the model; needed where a change is kept as a whole or depends on them, as DoRA's.
      sites: of the model; needed with `rank` where adapters are not low-rank.
      rank: of the result; None means as many as there are, and with "svd" the greatest rank of those given.
      density: the share of numbers that is kept.
      convention: of TIES, "total", "frequency", "weighted" or "weighted_sum".
      key: a random key, needed by "dare" and "dare_ties".

    Raises:
      InputError: an adapter is no change of parameters, or something that is needed is not given.
    """
    if how not in WAYS:
        raise unknown("way to combine adapters:", how, WAYS)
    if not adapters or len(adapters) != len(weights):
        raise InputError(f"combine: give as many weights as adapters, not {len(weights)} for {len(adapters)}")
    if how.startswith("dare") and key is None:
        raise InputError(f"combine: {how!r} drops at random; give a key")
    if how == "cat" and rank is not None:
        raise InputError(f"combine: 'cat' keeps all ranks side by side; for rank={rank} use 'svd'")
    if rank is not None:
        fields.whole("rank", rank)
    trimming.check_density(density)
    made: dict[str, Any] = {}
    for number, module in enumerate(_modules(adapters)):
        exact = _side_by_side(module, weights) if how in ("linear", "cat") and rank is None else None
        if how == "cat" and exact is None:
            raise InputError(f"{module.path}: 'cat' needs low-rank adapters of one form; use 'linear'")
        if exact is None:
            rule = _rule(how, weights, density, convention, None if key is None else jax.random.fold_in(key, number))
            own = _of_changes(
                module, rule, _greatest_rank(module) if how == "svd" and not rank else rank, params, sites
            )
        else:
            own = {"lora": exact}
        made |= {f"{module.path}/{name}": leaf for name, leaf in trees.flatten(own).items()}
    return trees.unflatten(made)


def _modules(adapters: Sequence[trees.Tree]) -> list[_Module]:
    found: dict[str, list[dict[str, Any]]] = {}
    for number, tree in enumerate(adapters):
        for path, slot, own in slots.split(tree):
            found.setdefault(path, [{} for _ in adapters])[number][slot] = own
    return [_Module(path, owns) for path, owns in found.items()]


def _rule(how: str, weights: Sequence[float], density: float, convention: str, key: Any) -> Callable:
    def rule(changes: jax.Array) -> jax.Array:
        if how == "ties":
            return ties(changes, weights, density=density, convention=convention)
        if how == "magnitude":
            return arithmetic.magnitude(changes, weights, density=density)
        if how == "dare":
            return weighted_sum(_dropped(key, changes, density), weights)
        if how == "dare_ties":
            return agreed(_dropped(key, changes, density), weights, convention)
        return weighted_sum(changes, weights)

    return rule


def _dropped(key: Any, changes: jax.Array, density: float) -> jax.Array:
    return trimming.dropped(changes, jax.random.bernoulli(key, density, changes.shape), density)


def _side_by_side(module: _Module, weights: Sequence[float]) -> dict[str, Any] | None:
    """The adapter whose factors are those of all, or None where they are not of one form."""
    if not module.low_rank:
        return None
    pairs = []
    for tree, weight in zip(module.trees, weights, strict=True):
        pairs += [stacking.of_each(functools.partial(_pair, weight=weight), own)(own) for own in tree.values()]
    axes = len(module.layers)
    groups = {a.shape[-1] // b.shape[axes] for a, b in pairs}
    if len(groups) > 1 or len({a.shape[:-1] for a, _ in pairs}) > 1:
        return None
    of_groups = jnp.concatenate([a.reshape(*a.shape[:-1], *groups, -1) for a, _ in pairs], -1)
    a = of_groups.reshape(*of_groups.shape[:-2], -1)
    return {"a": a, "b": jnp.concatenate([b for _, b in pairs], axes), FIXED: module.fixed}


def _pair(own: dict[str, Any], weight: float) -> tuple[jax.Array, jax.Array]:
    a, b = factors.pair(own)
    return a, b * own[FIXED]["scale"] * weight


def _greatest_rank(module: _Module) -> int:
    owns = [own for tree in module.trees for own in tree.values()]
    if not all("b" in own for own in owns):
        raise InputError(f"{module.path}: 'svd' needs a rank, for an adapter there has none")
    return max(stacking.of_each(factors.pair, own)(own)[0].shape[-1] for own in owns)


def _of_changes(module: _Module, rule: Callable, rank: int | None, params: Any, sites: Any) -> dict[str, Any]:
    """The adapter of what a rule makes of the changes: of a rank, but for the bias; or whole."""
    found = [_changes(module, tree, params, sites) for tree in module.trees]
    whole, low = {}, {}
    for name, like in {name: leaf for changes in found for name, leaf in changes.items()}.items():
        several = jnp.stack([changes.get(name, jnp.zeros_like(like)) for changes in found], len(module.layers))
        change = _of_layers(rule, module)(several)
        if rank is None or name == "bias":
            whole[name] = change
        else:
            a, b = _of_layers(functools.partial(_nearest, inputs=_inputs(module, sites), rank=rank), module)(change)
            low = {"lora": {"a": a, "b": b, FIXED: module.fixed}}
    if whole and params is None:
        raise InputError(
            f"{module.path}: a change that is kept as a whole needs the parameters; give params, or a rank"
        )
    return low | ({"delta": {**whole, FIXED: module.fixed}} if whole else {})


def _of_layers(change: Callable, module: _Module) -> Callable:
    for _ in module.layers:
        change = jax.vmap(change)
    return change


def _changes(module: _Module, tree: dict[str, Any], params: Any, sites: Any) -> Changes:
    """What the adapters of a tree, all together, add to the module's parameters."""
    if not tree:
        return {}
    if params is not None:
        return merging.changes(module.path, tree, params)
    known = sites is not None or module.low_rank
    change = merging.delta(tree, sites[module.path].shape if sites else ()) if known else None
    if change is None:
        raise InputError(f"{module.path}: the change of {', '.join(tree)} depends on the parameters; give params")
    return {sites[module.path].leaf if sites else "kernel": change}


def _inputs(module: _Module, sites: Any) -> int:
    if sites is not None:
        return sites[module.path].contracted
    if not module.low_rank:
        raise InputError(f"{module.path}: of an adapter that is not low-rank, a rank needs the sites; give them")
    own = next(own for tree in module.trees for own in tree.values())
    return own.get("a", own[FIXED].get("a")).ndim - 1 - len(module.layers)


def _nearest(change: jax.Array, *, inputs: int, rank: int) -> tuple[jax.Array, jax.Array]:
    """The factors of the nearest change of a rank."""
    before, after = change.shape[:inputs], change.shape[inputs:]
    u, s, vt = jnp.linalg.svd(change.reshape(math.prod(before), math.prod(after)), full_matrices=False)
    rank = min(rank, len(s))
    root = jnp.sqrt(s[:rank])
    return (u[:, :rank] * root).reshape(*before, rank), (root[:, None] * vt[:rank]).reshape(rank, *after)
