"""The ways to fuse, by name, and what one makes of the arrays at one path."""

import inspect
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core import fields as kinds
from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.fusion import averaging
from jtransfer.fusion.method import BASE, CHANGES, RNG, Method

METHODS = Registry(
    "way to fuse",
    {
        "uniform": "jtransfer.fusion.averaging:METHOD",
        "wise": "jtransfer.fusion.interpolating:WISE",
        "slerp": "jtransfer.fusion.interpolating:SLERP",
        "task_arithmetic": "jtransfer.fusion.arithmetic:TASK_ARITHMETIC",
        "magnitude": "jtransfer.fusion.arithmetic:MAGNITUDE",
        "breadcrumbs": "jtransfer.fusion.arithmetic:BREADCRUMBS",
        "ties": "jtransfer.fusion.ties:METHOD",
        "dare": "jtransfer.fusion.dare:DARE",
        "dare_ties": "jtransfer.fusion.dare:DARE_TIES",
        "knots": "jtransfer.fusion.knots:METHOD",
        "stock": "jtransfer.fusion.stock:METHOD",
        "fisher": "jtransfer.fusion.fisher:METHOD",
        "regmean": "jtransfer.fusion.regmean:METHOD",
    },
)
"""Name → a `Method`."""

STATISTICS = "batch_stats/"
_GIVEN = ("weights", "base", "rng", "fishers", "grams")


def fields_of(how: str) -> dict[str, Any]:
    """Returns the fields of a way to fuse and their defaults, name → value."""
    parameters = list(inspect.signature(METHODS[how].fuse).parameters.values())[1:]
    return {one.name: one.default for one in parameters if one.name not in _GIVEN}


def is_weighted(how: str) -> bool:
    """Returns whether the models have weights in a way to fuse, which it then demands."""
    weights = inspect.signature(METHODS[how].fuse).parameters.get("weights")
    return weights is not None and weights.default is inspect.Parameter.empty


def check(
    how: str, count: int, weights: Sequence[float] | None, given: Mapping[str, Any], *, base: bool
) -> list[float]:
    """Checks what is asked for, and returns the weights of the models.

    Args:
      how: The way to fuse.
      count: The number of models, without the base.
      weights: A number for each; None are the usual ones.
      given: The fields of the way.
      base: Whether there is a base.

    Raises:
      InputError: There is no such way or field, or the models are too few, or too many, or have no base.
    """
    method = METHODS[how]
    if not isinstance(method, Method):
        raise InputError(f"{how!r} is no fusion.Method")
    least, most = method.counts
    if not least <= count <= most:
        wanted = f"{least} model{'s' * (least > 1)}" + ("" if least == most else " or more")
        raise InputError(f"{how!r} takes {wanted}{' beside the base' * is_of_base(method)}, not {count}")
    if is_of_base(method) and not base:
        raise InputError(f"{how!r} needs the model that all began from; give base")
    known = fields_of(how)
    if odd := [name for name in given if name not in known]:
        raise InputError(f"{how!r} has no {odd[0]!r}; it has {', '.join(known) or 'no fields'}")
    kinds.check("fuse", "way to fuse", how, method.fuse, {**dict.fromkeys(_required(method)), **given}, skip=1)
    if weights is not None and not is_weighted(how):
        raise InputError(f"{how!r} has no weights; leave them out")
    if weights is None:
        return [1 / count if method.share else 1.0] * count
    found = [float(weight) for weight in weights]
    if len(found) != count or not np.isfinite(found).all():
        raise InputError(f"give a weight for each of the {count} models, not {len(found)} ({found})")
    return found


def is_of_base(method: Method) -> bool:
    """Returns whether a way to fuse looks at what all models began from."""
    return BASE in method.needs or CHANGES in method.needs


def _required(method: Method) -> list[str]:
    """What `fuse` is given beside fields, which `fields.check` would miss."""
    parameters = list(inspect.signature(method.fuse).parameters.values())[1:]
    return [one.name for one in parameters if one.name in _GIVEN]


def fuse_arrays(
    how: str,
    path: str,
    arrays: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    base: np.ndarray | None = None,
    seed: int = 0,
    given: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Returns what a way to fuse makes of the arrays of several models at one path.

    It is computed in float32, or float64 where they are, and has the dtype of the first. Means and variances of batch
    norms ("batch_stats/…") are averaged, whatever the way. What is no floating point number, such as a counter, must be
    the same in all models.

    Args:
      how: The way to fuse.
      path: Of the arrays, which decides on the random numbers, too.
      arrays: One of each model.
      weights: A number for each, from `check`.
      base: That of the model that all began from.
      seed: Of the random numbers of ways that draw some.
      given: What else the way needs, "fishers" or "grams".
      fields: Of the way.
      names: What the models are called in errors.

    Raises:
      InputError: A number is not finite, or what can't be fused differs.
    """
    method: Method = METHODS[how]
    first = np.asarray(arrays[0])
    if first.dtype.kind in "iub":
        if any(not np.array_equal(first, other) for other in arrays[1:]):
            raise InputError(f"{path} is {first.dtype}, and differs between the models; it can't be fused")
        return first
    dtype = np.float64 if first.dtype == np.float64 else np.float32
    stacked = np.stack([np.asarray(array, dtype) for array in arrays])
    whole = None if base is None else np.asarray(base, dtype)
    _check_finite(path, stacked, whole, names)
    return np.asarray(_fused(method, path, stacked, weights, whole, seed, given or {}, fields or {})).astype(
        first.dtype
    )


def _fused(method: Method, path: str, stacked: Any, weights: Any, base: Any, seed: int, given: Any, fields: Any) -> Any:
    more: dict[str, Any] = {"base": base} if BASE in method.needs else {}
    if path.startswith(STATISTICS):
        if method.statistics:
            return method.statistics(stacked, weights=weights, **more, **fields)
        return averaging.average(stacked, weights if min(weights) >= 0 and sum(weights) else [1.0] * len(weights))
    if RNG in method.needs:
        more["rng"] = np.random.default_rng([seed, zlib.crc32(path.encode())])
    more |= given
    if CHANGES in method.needs:
        return base + method.fuse(stacked - base, weights=weights, **more, **fields)
    return method.fuse(stacked, weights=weights, **more, **fields)


def _check_finite(path: str, stacked: np.ndarray, base: np.ndarray | None, names: Sequence[str]) -> None:
    for number, array in enumerate(stacked):
        if not np.isfinite(array).all():
            name = names[number] if names else f"the model number {number + 1}"
            raise InputError(f"{path} of {name} has numbers that are not finite; leave it out")
    if base is not None and not np.isfinite(base).all():
        raise InputError(f"{path} of the base has numbers that are not finite; give another base")
