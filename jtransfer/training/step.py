"""Pure steps: `(state, batch) → (state, metrics)` and `(variables, batch) → outputs`. Jit them as you like."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.layers.frozen import frozen_modules
from jtransfer.models import forward
from jtransfer.objectives.gradients import Method
from jtransfer.objectives.sums import Mean
from jtransfer.objectives.task import of_loss
from jtransfer.objectives.term import TARGET, View
from jtransfer.objectives.terms import Objective
from jtransfer.peft import frozen as frozen_adapters
from jtransfer.training import accumulate as accumulating
from jtransfer.training import multitask as tasks
from jtransfer.training import sharpness
from jtransfer.training import streams as reading
from jtransfer.training.noise import Noise, around
from jtransfer.training.state import INITIAL, INITIAL_STATE, TrainState
from jtransfer.training.streams import Head, Preprocess, StreamStep, unchanged

Batch = dict[str, Any]


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    objective: Objective | Callable[..., jax.Array],
    *,
    trainable: trees.Tree,
    preprocess: Preprocess = unchanged,
    mix: Callable[..., tuple[Any, Any]] | None = None,
    accuracy: Callable[..., dict[str, jax.Array]] | None = None,
    start: str | None = None,
    streams: Mapping[str, StreamStep] | None = None,
    accumulate: int = 1,
    ema: float = 0.0,
    sam: float = 0.0,
    multitask: Method | None = None,
    noise: Sequence[Noise] = (),
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """One optimizer step. The gradient is taken over `state.trainable` alone.

    Args:
      model: a chain of stages, or any Linen module (`models.forward.apply`).
      tx: over `state.trainable` (`optim.make`).
      objective: what is minimised: a loss `(logits [B, C], labels, mask [B]) -> float32 []` such as
        `objectives.create("softmax")`, or a sum of terms (`objectives.Objective`).
      trainable: bools over the paths of the variables that may be trained, or of the parameters alone; batch norm and
        dropout of modules and adapters of which all is frozen run as in evaluation.
      preprocess: the batch's `inputs` → the model's input, on the device.
      mix: `(key, x, labels) -> (x, soft labels)`: mixup or CutMix.
      accuracy: `(logits, labels, mask) -> {name: float32 []}`, or `objectives.Mean`, metrics of a batch where
        `objective` is a loss; by default the share of examples whose greatest logit is at the label.
      start: the stage that the batch's `inputs` is the input of, if it holds features.
      streams: where a batch has several streams, how each is read, in place of `preprocess`, `mix` and `start`.
      accumulate: the model sees the batch in so many parts, one after the other, with the same loss, metrics and
        gradient as in one pass; B must be divisible by it. Batch norm sees each part by itself, and dropout draws other
        numbers. A loss that is neither a `objectives.Loss` nor gives an `objectives.Mean` costs a second pass forwards.
      ema: decay of the moving average of `state.trainable` (used if the state holds one).
      sam: the radius of sharpness-aware minimization, which costs a second gradient; 0 is off. Batch norms move by the
        first pass alone, and so do the metrics.
      multitask: how the gradients of several tasks make one (`objectives.gradients`); each costs a gradient of its own.
      noise: on the model in training (`training.noise`).

    Returns:
      `train_step(state, batch) -> (state, metrics)`. `batch` is a dict of `inputs` (a pytree of [B, …]), `label`
      [B, …] and `mask` [B], or of such dicts, one for each stream. Metrics are `loss`, those of the objective,
      `grad_norm` and `update_norm`, each float32 []. While they are finite, so is the state.
    """
    mask = rules.by_collection(trainable)
    is_frozen = frozen_modules(mask["params"])
    total = objective if isinstance(objective, Objective) else of_loss(objective, accuracy or _accuracy)
    read = streams or {TARGET: StreamStep(preprocess, mix, start)}
    of_tasks = tasks.tasks(total) if multitask is not None else {}
    optimizer = optax.with_extra_args_support(tx)
    first = next(iter(read.values())).start

    def look(trained, state: TrainState, model_state, batches, keys, outputs=None):
        dropout_key, view_key = keys
        batches = reading.prepare(batches, read)
        variables = frozen_adapters.still(trees.merge(trained, state.frozen, model_state), mask)
        how = {"is_frozen": is_frozen, "mutable": list(model_state)}

        def again(x, key):
            with contextlib.ExitStack() as stack:
                noisy = around(noise, variables, jax.random.fold_in(key, 1), stack)
                return forward.apply(model, noisy, x, train=True, start=first, rngs={"dropout": key}, **how)[0]

        def initially(name, stages):
            begun = {"params": variables[INITIAL], **variables.get(INITIAL_STATE, {})}
            begun |= {kind: variables[kind] for kind in ("quantized",) if kind in variables}
            x, start = batches[name]["inputs"], read[name].start
            return jax.lax.stop_gradient(forward.apply(model, begun, x, start=start, outputs=tuple(stages))[0])

        if outputs is None:
            inputs = {name: part["inputs"] for name, part in batches.items()}
            with contextlib.ExitStack() as stack:
                noisy = around(noise, variables, jax.random.fold_in(dropout_key, 1 << 20), stack)
                outputs, updated = reading.apply(model, noisy, inputs, read, total.features, key=dropout_key, **how)
            model_state = trees.select({**model_state, **updated}, model_state)
        initial = variables.get(INITIAL)
        seen = View(outputs, batches, variables, initial, view_key, state.step, again, initially=initially)
        return seen, model_state

    def gradients(objective: Objective, state: TrainState, batches: Mapping[str, Mapping[str, Any]], key: jax.Array):
        mix_key, dropout_key = jax.random.split(key)
        keys = dropout_key, jax.random.fold_in(key, 2)
        batches = reading.mixed(batches, read, mix_key)
        if accumulate > 1:

            def look_at(trained, *args):
                return look(trained, state, *args)

            of_all = state.trainable, state.model_state, batches, keys, state.step, accumulate
            return accumulating.gradients(look_at, objective, *of_all)

        def loss_and_rest(trained):
            view, model_state = look(trained, state, state.model_state, batches, keys)
            loss, metrics = objective(view)
            return loss, (metrics, model_state)

        grads, (metrics, model_state) = jax.grad(loss_and_rest, has_aux=True)(state.trainable)
        return metrics, model_state, grads

    def slopes(state: TrainState, batches: Mapping[str, Mapping[str, Any]], key: jax.Array):
        if multitask is None:
            return gradients(total, state, batches, key)
        own_heads = any(one.head is not None for one in read.values())
        own = tasks.of_tasks_alone(state.trainable, own_heads=own_heads, head=forward.OUTPUT)
        kept = state.model_state.get(tasks.STATE, {})
        of_task = functools.partial(gradients, state=state, batches=batches, key=key)
        return tasks.together(multitask, of_tasks, of_task, own, kept, jax.random.fold_in(key, 3))

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)
        batches = {TARGET: batch} if "inputs" in batch else batch
        metrics, model_state, grads = slopes(state, batches, key)
        if sam:
            nearby = state.replace(trainable=sharpness.ascend(state.trainable, grads, sam))
            _, _, grads = slopes(nearby, batches, key)
        begun = {"initial": state.frozen[INITIAL]} if INITIAL in state.frozen else {}
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trainable, **begun)
        trained = optax.apply_updates(state.trainable, updates)
        average = state.ema
        if average is not None:
            average = optax.incremental_update(trained, average, 1 - ema)
        state = state.replace(
            step=state.step + 1, trainable=trained, model_state=model_state, opt_state=opt_state, ema=average
        )
        return state, metrics | {"grad_norm": optax.tree.norm(grads), "update_norm": optax.tree.norm(updates)}

    return train_step


def _accuracy(logits, labels, mask):
    right = (jnp.argmax(logits, -1) == labels) & mask
    return {"accuracy": Mean(jnp.sum(right, dtype=jnp.float32), jnp.sum(mask))}


def make_eval_step(
    model: nn.Module,
    *,
    preprocess: Preprocess = unchanged,
    keep: Callable[..., dict[str, jax.Array]] | None = None,
    start: str | None = None,
    stop: str | None = None,
    head: Head | None = None,
) -> Callable[[dict, Batch], dict[str, Any]]:
    """A step of evaluation.

    Args:
      model, preprocess, start: as in `make_train_step`.
      keep: `(logits, labels) -> {name: [B, …]}`, what is returned; by default the logits.
      stop: the first stage that is not run.
      head: a stream's own head, in place of the model's.

    Returns:
      `eval_step(variables, batch) -> {"logits": [B, C]}`, or `{"features": …}` where `stop` names a stage, or what
      `keep` gives.
    """
    name = "logits" if stop is None else "features"

    def eval_step(variables, batch):
        x, last = preprocess(batch["inputs"]), forward.OUTPUT if head is not None else stop
        if head is None or start != forward.OUTPUT:
            x, _ = forward.apply(model, variables, x, start=start, stop=last)
        if head is not None:
            x = head.apply(variables, x)
        return {name: x} if keep is None else keep(x, batch["label"])

    return eval_step
