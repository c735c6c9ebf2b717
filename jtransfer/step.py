"""Pure steps: `(state, batch) → (state, metrics)` and `(variables, batch) → outputs`. Jit them as you like."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jtransfer import tree as trees
from jtransfer.layers.still import hold_still, still_modules
from jtransfer.state import TrainState

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
      preprocess: the batch's `image` → the model's input, on the device.
      mix: `(key, x, labels) -> (x, soft labels)`: mixup or CutMix.
      start: the stage that the batch's `image` is the input of, if it holds features.
      accumulate: the batch is cut into so many parts, whose gradients are averaged; B must be divisible by it.
      ema: decay of the moving average of `state.trainable` (used if the state holds one).

    Returns:
      `train_step(state, batch) -> (state, metrics)`, with `batch` a dict of `image` [B, …], `label` [B], `mask` [B] and
      metrics `loss`, `accuracy`, `grad_norm`, `update_norm`, each float32 []. While they are finite, so is the state.
    """
    is_still = still_modules(trainable)

    def loss_and_rest(trained, state: TrainState, model_state, batch, key):
        mix_key, dropout_key = jax.random.split(key)
        x, labels = preprocess(batch["image"]), batch["label"]
        x, targets = (x, labels) if mix is None else mix(mix_key, x, labels)
        variables = trees.merge(trained, state.frozen, model_state)
        with hold_still(is_still):
            logits, updated = model.apply(
                variables, x, train=True, start=start, rngs={"dropout": dropout_key}, mutable=list(model_state)
            )
        correct = (jnp.argmax(logits, -1) == labels) & batch["mask"]
        accuracy = jnp.sum(correct) / jnp.maximum(jnp.sum(batch["mask"]), 1)
        return objective(logits, targets, batch["mask"]), (accuracy, trees.select(updated, model_state))

    grad_of = jax.value_and_grad(loss_and_rest, has_aux=True)

    def gradients(state: TrainState, batch: Batch, key: jax.Array):
        if accumulate == 1:
            (loss, (accuracy, model_state)), grads = grad_of(state.trainable, state, state.model_state, batch, key)
            return loss, accuracy, model_state, grads

        def part(carry, inputs):
            model_state, total = carry
            (loss, (accuracy, model_state)), grads = grad_of(state.trainable, state, model_state, *inputs)
            return (model_state, jax.tree.map(jnp.add, total, (loss, accuracy, grads))), None

        parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
        zero = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.trainable))
        keys = jax.random.split(key, accumulate)
        (model_state, sums), _ = jax.lax.scan(part, (state.model_state, zero), (parts, keys))
        loss, accuracy, grads = jax.tree.map(lambda x: x / accumulate, sums)
        return loss, accuracy, model_state, grads

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        loss, accuracy, model_state, grads = gradients(state, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
        trained = optax.apply_updates(state.trainable, updates)
        average = state.ema
        if average is not None:
            average = optax.incremental_update(trained, average, 1 - ema)
        state = state.replace(
            step=state.step + 1, trainable=trained, model_state=model_state, opt_state=opt_state, ema=average
        )
        norms = {"grad_norm": optax.tree.norm(grads), "update_norm": optax.tree.norm(updates)}
        return state, {"loss": loss, "accuracy": accuracy, **norms}

    return train_step


def make_eval_step(
    model: nn.Module, *, preprocess: Preprocess = lambda x: x, start: str | None = None, stop: str | None = None
) -> Callable[[dict, Batch], dict[str, jax.Array]]:
    """`eval_step(variables, batch) -> {"logits": [B, C]}`, or `{"features": …}` where `stop` names a stage."""
    name = "logits" if stop is None else "features"

    def eval_step(variables, batch):
        return {name: model.apply(variables, preprocess(batch["image"]), train=False, start=start, stop=stop)}

    return eval_step
