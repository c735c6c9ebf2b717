"""Pure steps: `(state, batch) → (state, metrics)` and `(variables, batch) → outputs`. Jit them as you like."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jtransfer.core import tree as trees
from jtransfer.layers.frozen import hold_still, still_modules
from jtransfer.training.state import TrainState

Batch = dict[str, Any]
Preprocess = Callable[[Any], Any]


def pixels(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), dtype=jnp.float32) -> Preprocess:
    """Images uint8 [B, H, W, C] → `(image / 255 - mean) / std` in `dtype`; what is not uint8 is left as it is."""
    scale, shift = 1 / (255 * jnp.asarray(std)), jnp.asarray(mean) / jnp.asarray(std)

    def preprocess(image):
        return (image * scale - shift).astype(dtype) if image.dtype == jnp.uint8 else image

    return preprocess


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    objective: Callable,
    *,
    trainable: trees.Tree,
    preprocess: Preprocess = lambda x: x,
    mix: Callable | None = None,
    accuracy: Callable[..., dict[str, jax.Array]] | None = None,
    start: str | None = None,
    accumulate: int = 1,
    ema: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One optimizer step. The gradient is taken over `state.trainable` alone.

    Args:
      model: called as `model.apply(variables, x, train=True, start=start)`.
      tx: over `state.trainable` (`optim.make`).
      objective: `(logits [B, C], labels, mask [B]) -> float32 []`.
      trainable: bools over the parameters' paths; batch norm and dropout stand still where all is frozen.
      preprocess: the batch's `inputs` → the model's input, on the device.
      accuracy: `(logits, labels, mask) -> {name: float32 []}`, metrics of a batch; default the share of examples whose
        greatest logit is at the label.
      mix: `(key, x, labels) -> (x, soft labels)`: mixup or CutMix.
      start: the stage that the batch's `inputs` is the input of, if it holds features.
      accumulate: the batch is cut into so many parts, whose gradients are averaged; B must be divisible by it.
      ema: decay of the moving average of `state.trainable` (used if the state holds one).

    Returns:
      `train_step(state, batch) -> (state, metrics)`, with `batch` a dict of `inputs` (a pytree of [B, …]), `label`
      [B, …] and `mask` [B], and metrics `loss`, `accuracy`, `grad_norm`, `update_norm`, each float32 []. While they are
      finite, so is the state.
    """
    is_still = still_modules(trainable)

    def loss_and_rest(trained, state: TrainState, model_state, batch, key):
        mix_key, dropout_key = jax.random.split(key)
        x, labels = preprocess(batch["inputs"]), batch["label"]
        x, targets = (x, labels) if mix is None else mix(mix_key, x, labels)
        variables = trees.merge(trained, state.frozen, model_state)
        with hold_still(is_still):
            logits, updated = model.apply(
                variables, x, train=True, start=start, rngs={"dropout": dropout_key}, mutable=list(model_state)
            )
        found = (accuracy or _accuracy)(logits, labels, batch["mask"])
        return objective(logits, targets, batch["mask"]), (found, trees.select(updated, model_state))

    grad_of = jax.value_and_grad(loss_and_rest, has_aux=True)

    def gradients(state: TrainState, batch: Batch, key: jax.Array):
        if accumulate == 1:
            (loss, (found, model_state)), grads = grad_of(state.trainable, state, state.model_state, batch, key)
            return {"loss": loss, **found}, model_state, grads

        def part(carry, inputs):
            model_state, total = carry
            (loss, (found, model_state)), grads = grad_of(state.trainable, state, model_state, *inputs)
            return (model_state, jax.tree.map(jnp.add, total, ({"loss": loss, **found}, grads))), None

        parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
        keys = jax.random.split(key, accumulate)
        first = jax.tree.map(lambda x: x[0], (parts, keys))
        (loss, (found, _)), grads = jax.eval_shape(grad_of, state.trainable, state, state.model_state, *first)
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), ({"loss": loss, **found}, grads))
        (model_state, sums), _ = jax.lax.scan(part, (state.model_state, zero), (parts, keys))
        values, grads = jax.tree.map(lambda x: x / accumulate, sums)
        return values, model_state, grads

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        values, model_state, grads = gradients(state, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
        trained = optax.apply_updates(state.trainable, updates)
        average = state.ema
        if average is not None:
            average = optax.incremental_update(trained, average, 1 - ema)
        state = state.replace(
            step=state.step + 1, trainable=trained, model_state=model_state, opt_state=opt_state, ema=average
        )
        norms = {"grad_norm": optax.tree.norm(grads), "update_norm": optax.tree.norm(updates)}
        return state, {**values, **norms}

    return train_step


def _accuracy(logits, labels, mask):
    return {"accuracy": jnp.sum((jnp.argmax(logits, -1) == labels) & mask) / jnp.maximum(jnp.sum(mask), 1)}


def make_eval_step(
    model: nn.Module,
    *,
    preprocess: Preprocess = lambda x: x,
    keep: Callable[..., dict[str, jax.Array]] | None = None,
    start: str | None = None,
    stop: str | None = None,
) -> Callable[[dict, Batch], dict[str, Any]]:
    """`eval_step(variables, batch) -> {"logits": [B, C]}`, or `{"features": …}` where `stop` names a stage.

    With `keep`, a function of logits and labels, it returns what that gives: `{name: [B, …]}`.
    """
    name = "logits" if stop is None else "features"

    def eval_step(variables, batch):
        found = model.apply(variables, preprocess(batch["inputs"]), train=False, start=start, stop=stop)
        return {name: found} if keep is None else keep(found, batch["label"])

    return eval_step
