"""Decoupled decay towards the parameters that a run began with: L2-SP (Li et al. 2018) applied as AdamW decays."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError


def towards_initial(strength: float, decays: Mapping[str, bool]) -> optax.GradientTransformationExtraArgs:
    """Returns a transform that takes `strength · (w − w₀)` off the updates of parameters; last but for the rate.

    Since it comes after the optimizer's own scaling, all parameters are drawn back alike, as by AdamW's weight decay,
    which it is where w₀ is 0. `update` wants the keyword `initial`, the parameters w₀, by the paths of the parameters.

    Args:
      strength: of the decay, which the rate multiplies.
      decays: path → whether it applies, with the collection "params" or without it.
    """

    def update(updates: Any, state: Any, params: Any = None, *, initial: Any = None, **_: Any) -> tuple[Any, Any]:
        if params is None or initial is None:
            raise InputError(
                "optim.l2sp needs the parameters and `initial`, those that the run began with, in `update`"
            )
        now, begun = trees.flatten(params), trees.flatten(initial)

        def away(path: str, moved: Any) -> Any:
            if not decays[path]:
                return moved
            first = begun[path.removeprefix("params/")]
            return moved - (strength * (now[path] - first.astype(jnp.float32))).astype(moved.dtype)

        return trees.map_with_path(away, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
