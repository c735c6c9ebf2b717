"""The loss of the task itself."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jtransfer.objectives.losses import as_sums
from jtransfer.objectives.seen import check_stream
from jtransfer.objectives.sums import Mean, is_mean
from jtransfer.objectives.term import TARGET, Context, Metrics, Stream, Term, View
from jtransfer.objectives.terms import Objective


def task(context: Context, *, on: Sequence[str] = ()) -> Term:
    """The task's loss on each stream's examples.

    With several streams it is `Σ_s weight_s · n_s · loss_s / Σ_s n_s`, where n_s are the examples of stream s in the
    batch: with weights of 1 and the same loss, the mean over all examples.

    Metrics are those of the target's batch by their own names and, with several streams, `s/loss` of each stream s and
    `s/accuracy` of those that are not the target.

    Args:
      context: of the run.
      on: the streams whose labels count; by default all. With `on=("source",)` the target's labels are not looked at,
        neither by the loss nor by the metrics of training, as domain adaptation wants it.
    """
    for name in on:
        check_stream(context, "task", name)

    def loss(view: View) -> tuple[Any, Metrics]:
        seen = {name: batch for name, batch in view.batch.items() if not on or name in on}
        sizes = {name: len(batch["mask"]) for name, batch in seen.items()}
        shares, metrics = {}, {}
        for name, batch in seen.items():
            stream, logits = context.streams[name], view.outputs[name]["head"]
            value = as_sums(stream.loss)(logits, batch["target"], batch["mask"])
            shares[name] = _times(stream.weight * (sizes[name] / sum(sizes.values())), value)
            found = stream.accuracy(logits, batch["label"], batch["mask"])
            if name == TARGET:
                metrics |= found
            if len(context.streams) > 1:
                own = {"loss": value, **({} if name == TARGET else found)}
                metrics |= {f"{name}/{metric}": number for metric, number in own.items()}
        return shares, metrics

    return Term(loss, tasks=tuple(on) or tuple(context.streams))


def _times(factor: float, value: Any) -> Any:
    return Mean(factor * value.total, value.weight) if is_mean(value) else factor * value


def of_loss(loss: Callable[..., jax.Array], accuracy: Callable[..., Metrics]) -> Objective:
    """The objective that is the loss of one task: `(logits, labels, mask) -> float32 []`, on one stream."""
    context = Context(None, {TARGET: Stream(loss, accuracy)}, 0)
    return Objective({"task": task(context)}, {"task": lambda step: 1.0})
