"""The training state: what is trained and what is frozen are apart, so that nothing can touch the frozen part."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.layers.frozen import frozen_modules
from jtransfer.training.stream_norms import STATISTICS

INITIAL = "initial"  # the collection of the parameters that a run began with
INITIAL_STATE = "initial_state"  # what the network that a run began with has beside them, by collection
CONSTANTS = "constants"  # what terms keep: arrays of the initial network, or measured with it
STILL = (INITIAL, INITIAL_STATE, CONSTANTS, "quantized")  # collections that are never trained
TRAINED = ("adapters", "aux")  # collections that are trained unless a rule says otherwise
AUXILIARY = (
    "aux",
    INITIAL,
    INITIAL_STATE,
    CONSTANTS,
    STATISTICS,
    "multitask",
)  # collections that are no part of the model


class TrainState(flax.struct.PyTreeNode):
    """All that a step reads and writes.

    Attributes:
      step: int32 [], optimizer steps taken since the start of the run, over all phases.
      trainable: variable collections (`{"params": …}`) that the gradient is taken over.
      frozen: variable collections that cannot change in this phase: parameters, and statistics of still batch norms.
      model_state: variable collections that the forward pass updates (`{"batch_stats": …}`).
      opt_state: optimizer state over `trainable`.
      ema: exponential moving average of `trainable`, or None.
      rng: uint32 key data; step t draws from `fold_in(rng, t)`.
    """

    step: jax.Array
    trainable: dict
    frozen: dict
    model_state: dict
    opt_state: Any
    ema: dict | None
    rng: jax.Array

    def variables(self, *, average: bool = False) -> dict:
        """The whole tree that `model.apply` takes; with `average`, the moving average in place of what is trained."""
        trained = self.ema if average and self.ema is not None else self.trainable
        return trees.merge(trained, self.frozen, self.model_state)


def split(variables: dict, trainable: trees.Tree) -> tuple[dict, dict, dict]:
    """Variables → (trainable, frozen, model_state).

    Args:
      variables: `{"params": …, "batch_stats": …}`.
      trainable: bools over the paths of the collections that may be trained (`{"params": …, "aux": …}`), or of the
        parameters alone, in which case all of "adapters" and "aux" is trained. Of all other collections, the statistics
        of modules whose parameters are all frozen are frozen, and so are the collections of `STILL`.
    """
    mask = rules.by_collection(trainable)
    more = {name: variables[name] for name in TRAINED if name in variables.keys() - mask}
    mask |= trees.map_with_path(lambda path, _: not rules.FIXED.fullmatch(path), more)
    moving, frozen = trees.partition({name: variables[name] for name in mask}, mask)
    is_frozen = frozen_modules(mask["params"])
    rest = {name: tree for name, tree in variables.items() if name not in mask}
    fixed = trees.map_with_path(lambda path, _: _is_fixed(path, is_frozen), rest)
    held, model_state = trees.partition(rest, fixed)
    return moving, trees.merge(frozen, held), model_state


def _is_fixed(path: str, is_frozen: Callable[[tuple[str, ...]], bool]) -> bool:
    collection, *module, _ = path.split("/")
    return collection in STILL or is_frozen(tuple(module[collection == STATISTICS :]))


def create(variables: dict, trainable: trees.Tree, tx, *, seed: int, ema: bool = False) -> TrainState:
    """A state at step 0. Pure, so that it can be jitted with the shardings it is to have.

    The state has arrays of its own: a step that is given it to keep (`donate_argnums=0`) deletes none of `variables`.
    """
    moving, frozen, model_state = split(_copied(variables), trainable)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=moving,
        frozen=frozen,
        model_state=model_state,
        opt_state=_init(tx, moving),
        ema=jax.tree.map(jnp.copy, moving) if ema else None,
        rng=jax.random.key_data(jax.random.key(seed)),
    )


def _copied(tree: Any) -> Any:
    """Returns a tree whose arrays on devices are copies. Where it is compiled into a program, nothing is copied."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if _is_held(leaf) else leaf, tree)


def _is_held(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)


def _init(tx: Any, moving: dict) -> Any:
    """Returns an optimizer's state, which has no array in common with the parameters, as two places in what is donated
    may not be one array."""
    own = {id(leaf) for leaf in jax.tree.leaves(moving)}
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if id(leaf) in own and _is_held(leaf) else leaf, tx.init(moving))


def cast_frozen(state: TrainState, keep: trees.Tree, dtype) -> TrainState:
    """Stores frozen parameters in the compute dtype, but for those that `keep` (bools by path) marks."""

    def cast(path: str, leaf):
        collection, _, name = path.partition("/")
        return leaf if collection != "params" or kept[name] else leaf.astype(dtype)

    kept = trees.flatten(rules.by_collection(keep)["params"])
    return state.replace(frozen=trees.map_with_path(cast, state.frozen))


def repartition(state: TrainState, trainable: trees.Tree, tx, carry: Callable[[Any, Any], Any]) -> TrainState:
    """The same variables with another part trained: what happens at the border between two phases. The new state has
    arrays of its own.

    Args:
      state: the last state of the phase before.
      trainable: bools as in `split`, for the new phase.
      tx: the new phase's optimizer.
      carry: `(old opt_state, new opt_state) -> opt_state` keeps the moments of what stays trainable.
    """
    state = _copied(state)
    moving, frozen, model_state = split(state.variables(), trainable)
    ema = None
    if state.ema is not None:
        old = trees.flatten(state.ema)
        ema = trees.map_with_path(lambda path, leaf: old[path] if path in old else jnp.copy(leaf), moving)
    return state.replace(
        trainable=moving,
        frozen=frozen,
        model_state=model_state,
        opt_state=carry(state.opt_state, _init(tx, moving)),
        ema=ema,
    )
