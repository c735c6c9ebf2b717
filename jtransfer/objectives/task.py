"""The loss of the task itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jtransfer.objectives.terms import TARGET, Context, Metrics, Objective, Stream, Term, View


def task(context: Context) -> Term:
    """The task's loss on each stream's examples.

    With several streams it is `Σ_s weight_s · n_s · loss_s / Σ_s n_s`, where n_s are the examples of stream s in the
    batch: with weights of 1 and the same loss, the mean over all examples.

    Metrics are those of the target's batch by their own names and, with several streams, `s/loss` of each stream s and
    `s/accuracy` of those that are not the target.
    """

    def loss(view: View) -> tuple[jax.Array, Metrics]:
        sizes = {name: len(batch["mask"]) for name, batch in view.batch.items()}
        total, metrics = jnp.zeros((), jnp.float32), {}
        for name, batch in view.batch.items():
            stream, logits = context.streams[name], view.outputs[name]["head"]
            value = stream.loss(logits, batch["target"], batch["mask"])
            total = total + stream.weight * (sizes[name] / sum(sizes.values())) * value
            found = stream.accuracy(logits, batch["label"], batch["mask"])
            if name == TARGET:
                metrics |= found
            if len(context.streams) > 1:
                own = {"loss": value} | ({} if name == TARGET else found)
                metrics |= {f"{name}/{metric}": number for metric, number in own.items()}
        return total, metrics

    return Term(loss)


def of_loss(loss: Callable[..., jax.Array], accuracy: Callable[..., Metrics]) -> Objective:
    """The objective that is the loss of one task: `(logits, labels, mask) -> float32 []`, on one stream."""
    context = Context(None, {TARGET: Stream(loss, accuracy)}, 0)
    return Objective({"task": task(context)}, {"task": lambda step: 1.0})
