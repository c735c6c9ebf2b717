"""What of a training state changes from step to step, as a checkpoint holds it."""

from collections.abc import Mapping
from typing import Any

import jax

from jtransfer.core import tree as trees
from jtransfer.training.state import TrainState

_FIELDS = ("step", "rng", "trainable", "model_state", "ema")


def parts(state: TrainState) -> dict[str, dict]:
    """Returns the trees that are saved at a step, `state` and `optimizer`; empty ones are left out."""
    held = {name: value for name in _FIELDS if jax.tree.leaves(value := getattr(state, name))}
    moments = {_path(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)}
    return {"state": held} | ({"optimizer": trees.unflatten(moments)} if moments else {})


def named(like: TrainState, flat: Mapping[str, Any]) -> TrainState:
    """Returns the state of these arrays, by their paths among `parts`; what is frozen is that of `like`."""

    def part(name: str, tree: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda keys, _: flat[f"{name}/{_path(keys)}"], tree)

    held = part("state", {name: getattr(like, name) for name in _FIELDS})
    return TrainState(frozen=like.frozen, opt_state=part("optimizer", like.opt_state), **held)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")
