"""What evaluators see of a run's streams: the model's outputs for any examples of any of them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.data import Source
from jtransfer.evaluators import Stream, gather
from jtransfer.models import forward
from jtransfer.objectives import Context
from jtransfer.objectives.seen import flat, stage
from jtransfer.objectives.sums import values
from jtransfer.runs import assemble, batches

Run = Any  # build.Run


def of_streams(run: Run, open_split: Callable[[str, str], Source]) -> dict[str, Stream]:
    """Returns name → stream, the target first.

    Args:
      run: The run.
      open_split: `(stream, split) -> source`.
    """
    heads = assemble.heads(run)
    return {
        name: Stream(
            task=stream.task,
            source=functools.partial(open_split, name),
            labelled=name in run.labelled,
            validated="validation" in stream.sources,
            loss=_losses(assemble.loss(run.config.loss, stream)),
            seen=seen_of(run, stream, heads.get(name)),
        )
        for name, stream in run.streams.items()
    }


def seen_of(run: Run, stream: Any, head: Any) -> Callable[[Mapping[str, Any], Source, str | None], dict[str, Any]]:
    """Returns what evaluators see of a stream (`evaluators.Stream`), by a head of its own or, if it is None, the
    model's."""
    transform = stream.transform(run.model, train=False)
    preprocess = stream.preprocess(run.model, train=False)

    @functools.cache
    def step(at: str | None) -> Callable:
        last = forward.OUTPUT if head is None else forward.stages(run.model)[-2]
        place = None if at is None else stage(Context(run.model, {}, 0), "label_free", at)

        def look(variables: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
            wanted = tuple(name for name in dict.fromkeys((last, place)) if name is not None)
            outputs, _ = forward.apply(run.model, variables, preprocess(batch["inputs"]), outputs=wanted)
            logits = outputs[last] if head is None else head.apply(variables, outputs[last])
            return {"logits": logits, **({} if place is None else {"features": flat(outputs[place], place)})}

        return jax.jit(look)

    def seen(variables: Mapping[str, Any], source: Source, at: str | None = None) -> dict[str, Any]:
        return gather(step(at), variables, batches.of_evaluation(run, source, transform))

    return seen


def _losses(loss: Callable) -> Callable[[Any, Any], np.ndarray]:
    def one(logits: jax.Array, label: jax.Array) -> jax.Array:
        return values(loss(logits[None], label[None], jnp.ones(1, bool)))

    return lambda logits, labels: np.asarray(jax.vmap(one)(jnp.asarray(logits), jnp.asarray(labels)))
