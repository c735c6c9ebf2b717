"""EVA (Paischer et al. 2024, arXiv:2410.07170): LoRA that begins with what varies most in the inputs of a layer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.peft import layer
from jtransfer.peft.init import Adapter, begin, plan
from jtransfer.peft.method import FIXED, Site
from jtransfer.peft.sites import find

METHODS = ("lora", "lora_fa", "dora")
_COLLECTION = "eva"


def eva(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    rows: Sequence[Any],
    key: jax.Array,
    *,
    rho: float = 1.0,
) -> dict[str, Any]:
    """Returns adapters whose `a` has the principal components of their layers' inputs, and which change nothing yet.

    As in Hugging Face's PEFT, inputs are centred, and ranks may be spent where they explain most: of all components of
    all layers, as many as the ranks of the rows allow, and of one layer at most rho · rank. A layer that gets none has
    no adapter. Places where a batch's "attention_mask" is 0 do not count.

    Args:
      model: any Linen module that `models.forward.apply` runs.
      variables: of the model.
      batches: inputs of the model; each is seen once, and compiled once for each shape.
      rows: as of `init`, with the methods "lora", "lora_fa" or "dora", of dense layers.
      key: a random key, as of `init`.
      rho: 1 leaves the ranks as they are.

    Raises:
      InputError: as of `init`; or a row's method or module has no such start, or there is no batch.
    """
    if not rho >= 1:
        raise InputError(f"eva: rho={rho} must be at least 1")
    moments: dict[str, Any] = {}
    planned: dict[str, Adapter] = {}
    observe: Any = None
    for x in batches:
        if observe is None:
            sites = find(model, variables, x)
            planned = {f"{a.site.path}/{a.slot}": _checked(a) for a in plan(rows, sites)}
            observe = _observer(model, {a.site.path for a in planned.values()})
        found = jax.device_get(observe(dict(variables), x))
        for path, parts in trees.flatten(found).items():
            moments[path] = moments.get(path, 0) + np.asarray(parts, np.float64)
    if observe is None:
        raise InputError("eva: there is no batch to look at")
    components = {name: _components(a.site, moments) for name, a in planned.items()}
    ranks = _ranks(planned, components, rho)
    return _begin(planned, components, ranks, key, variables["params"])


def _checked(adapter: Adapter) -> Adapter:
    if adapter.slot not in METHODS or adapter.fields.get("start", "uniform") not in ("uniform", "gaussian"):
        raise InputError(f"eva: it is a start of {', '.join(METHODS)}, not of {adapter.slot!r} with {adapter.fields}")
    if adapter.site.kind != "dense":
        raise InputError(
            f"eva: {adapter.site.path} is a {adapter.site.name}; only inputs of dense layers are looked at"
        )
    return adapter


def _observer(model: nn.Module, paths: set[str]) -> Any:
    def observe(variables: dict[str, Any], x: Any) -> Any:
        mask = x.get("attention_mask") if isinstance(x, Mapping) else None

        def record(call, args, kwargs, context):
            module = context.module
            if context.method_name == "__call__" and module.scope is not None and "/".join(module.path) in paths:
                for name, value in _moments(module, mask, *args, *kwargs.values()).items():
                    module.sow(_COLLECTION, name, value, reduce_fn=jnp.add, init_fn=lambda: 0)
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            return forward.apply(model, variables, x, mutable=[_COLLECTION])[1].get(_COLLECTION, {})

    return jax.jit(observe)


def _moments(module: nn.Module, mask: Any, *given: Any) -> dict[str, Any]:
    """The sums of a layer's inputs, of their products, and their number."""
    axes = layer.contracted(module, module.get_variable("params", "kernel").ndim, given[1:])
    x = layer.rows(module, *given).astype(jnp.float32)
    lead = x.shape[: x.ndim - axes]
    counts = jnp.ones(lead)
    if mask is not None and lead[: mask.ndim] == mask.shape:
        counts = jnp.broadcast_to(mask.reshape(*mask.shape, *[1] * (len(lead) - mask.ndim)), lead)
    rows = x.reshape(math.prod(lead), -1)
    weighted = rows * counts.reshape(-1, 1)
    return {"products": weighted.T @ rows, "sums": weighted.sum(0), "count": counts.sum(dtype=jnp.float32)}


def _components(site: Site, moments: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(directions [components, inputs], the share of the variance that each explains), the greatest first."""
    if f"{site.path}/count" not in moments:
        raise InputError(f"eva: the inputs of {site.path} can't be seen within a scan")
    products, sums, count = (moments[f"{site.path}/{name}"] for name in ("products", "sums", "count"))
    mean = sums / count
    variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
    shares = np.maximum(variances[::-1], 0)
    known = int(min(count - 1, len(shares)))
    return directions.T[::-1][:known], shares[:known] / max(shares.sum(), np.finfo(float).tiny)


def _rank(adapter: Adapter) -> int:
    return adapter.fields.get("rank", 8)


def _ranks(planned: Mapping[str, Adapter], components: Mapping[str, Any], rho: float) -> dict[str, int]:
    """How many components of each layer are taken."""
    most = {name: min(round(_rank(a) * rho), len(components[name][0])) for name, a in planned.items()}
    for name, adapter in planned.items():
        if len(components[name][0]) < _rank(adapter):
            few = f"{len(components[name][0])} components of the inputs of {adapter.site.path}"
            raise InputError(f"eva: the batches tell only {few}, fewer than rank={_rank(adapter)}; give more of them")
    ranked = sorted((-share, name) for name in planned for share in components[name][1][: most[name]])
    taken = [name for _, name in ranked[: sum(map(_rank, planned.values()))]]
    return {name: taken.count(name) for name in planned}


def _begin(planned: Any, components: Any, ranks: Any, key: jax.Array, params: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, adapter in planned.items():
        if not ranks[name]:
            continue
        fields, rank = adapter.fields, ranks[name]
        alpha = fields.get("alpha") or _rank(adapter)
        again = adapter._replace(fields={**fields, "rank": rank, "alpha": alpha * rank / _rank(adapter)})
        own = trees.flatten(begin(again, key, params))
        a = jnp.asarray(components[name][0][:rank].T, jnp.float32).reshape(*adapter.site.inputs, rank)
        own["a" if "a" in own else f"{FIXED}/a"] = a
        made |= {f"{name}/{leaf}": array for leaf, array in own.items()}
    return trees.unflatten(made)
