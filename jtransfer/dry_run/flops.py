"""The floating-point operations of a program, counted in its jaxpr, so that they are the same on every device."""

import math
from collections.abc import Mapping
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def count(jaxpr: Any) -> float:
    """Returns the floating-point operations of matrix products and convolutions, a multiplication and an addition each.

    A loop's body counts as often as it runs, if its number of rounds is known, and else once; of branches, the one with
    most. A Pallas kernel counts for each point of its grid, those that a mask passes over too, and what each device
    computes by itself (`shard_map`) for each of them. What a gradient computes again (`remat`) counts again. All else,
    which is little, does not count.

    Args:
      jaxpr: A jaxpr, closed or not, of the whole program over all devices.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return sum(map(_of, jaxpr.eqns))


def _of(eqn: Any) -> float:
    name = eqn.primitive.name
    if name == "dot_general":
        return _dot(eqn)
    if name == "conv_general_dilated":
        return _convolution(eqn)
    if name == "cond":
        return max(map(count, eqn.params["branches"]))
    return _times(name, eqn.params) * sum(map(count, _inner(eqn)))


def _times(name: str, params: Mapping[str, Any]) -> int:
    """How often an equation runs what it holds."""
    if name == "scan":
        return params["length"]
    if name == "pallas_call":
        return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
    if name == "shard_map":
        return math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
    return 1


def _inner(eqn: Any) -> list[Any]:
    found = [leaf for value in eqn.params.values() for leaf in (value if isinstance(value, tuple | list) else (value,))]
    return [leaf for leaf in found if isinstance(leaf, ClosedJaxpr | Jaxpr)]


def _dot(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)


def _convolution(eqn: Any) -> float:
    kernel, numbers = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"]
    inputs, outputs = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    window = math.prod(kernel[axis] for axis in numbers.rhs_spec[1:])
    places = math.prod(outputs[axis] for axis in numbers.out_spec[2:])
    channels = math.prod(outputs) / places
    if math.prod(eqn.params["lhs_dilation"]) > 1:  # the zeros between the inputs are no work
        places = min(places, math.prod(inputs[axis] for axis in numbers.lhs_spec[2:]))
    return 2.0 * channels * places * window
