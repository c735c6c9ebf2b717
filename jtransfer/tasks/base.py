"""What a task is: what it needs of examples and models, its loss, its metrics, and how its results are shown."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.objectives import counted

Table = dict[str, np.ndarray]
Score = Callable[[Table, Sequence[str]], Iterator[tuple[str, float]]]


def as_logits(logits: Any, labels: Any) -> dict[str, Any]:
    """Returns what most tasks keep of each example: its logits and its label."""
    return {"logits": logits, "label": labels}


def as_it_is(table: Table) -> Table:
    """Returns a table unchanged."""
    return table


def whole(loss: Callable) -> Callable:
    """Returns a loss unchanged: a function of a model's outputs, the labels, and a mask of examples."""
    return loss


def by_token(loss: Callable) -> Callable:
    """Returns a loss of examples as a loss of tokens, over those of real examples that have a label (not -1)."""
    return lambda logits, labels, mask: loss(logits, jnp.maximum(labels, 0), counted(labels, mask))


@dataclasses.dataclass(frozen=True)
class Task:
    """What a model is trained to do. A task knows no modality.

    Attributes:
      name: its name in a config.
      score: `(table, class names) -> (metric, value)…`, the metrics of an evaluation, from what was kept of all
        examples.
      loss: the name of its usual loss (`objectives.LOSSES`).
      label_kinds: the kinds of labels that it takes (`data.Source.label_kind`); none where it does not look at them.
      form: what the model is given of an example: "single" (one input), "pair" (two that belong together), "tokens"
        (an input whose parts have a label each), "seq2seq" (an input, and a sequence to produce) or "causal" (a
        sequence that is its own label). A modality serves the forms that it has a transform for.
      keep: `(logits, labels) -> {name: [B, …]}`, jittable: what is kept of each example of an evaluation.
      finish: `table -> table`, once over all examples: what is saved as predictions.
      metric: the metric that tells a better model, unless the config names another.
      hits: `(logits, labels) -> bool [B] or [B, n]`: which are right; None where no one is right or wrong.
      by_token: labels are of tokens, -1 where there is none.
      head: the kind of head that a model needs ("classify", "tag", "embed"); "" where there is none to choose.
      blank: `classes -> label` of an example that is to be predicted.
      lines: `(given, table, class names) -> lines`: what `predict` prints (`tasks.printing`).
      shown: the metrics that a report compares, the most important first.
      sections: what a report shows of the predictions: "classes", "numbers" or "texts".
      generates: what the model generates: "targets", which an evaluation compares with those wanted; "more"; or "".
      wrap: `loss of (outputs, labels, mask) -> the loss of this task's outputs`.
    """

    name: str
    score: Score
    loss: str = "softmax"
    label_kinds: tuple[str, ...] = ("class",)
    form: str = "single"
    keep: Callable[[Any, Any], dict[str, Any]] = as_logits
    finish: Callable[[Table], Table] = as_it_is
    metric: str = "loss"
    hits: Callable[[Any, Any], jax.Array] | None = None
    by_token: bool = False
    head: str = ""
    blank: Callable[[int], Any] = lambda classes: 0
    lines: Callable[..., Iterator[str]] | None = None
    shown: tuple[str, ...] = ("loss",)
    sections: tuple[str, ...] = ()
    generates: str = ""
    wrap: Callable[[Callable], Callable] = whole

    def objective(self, loss: Callable) -> Callable:
        """Returns the loss of this task, a function `(outputs, labels, mask) -> float32 []`.

        Args:
          loss: The loss function, from `objectives.create`.
        """
        return by_token(loss) if self.by_token else self.wrap(loss)

    def accuracy(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        """Returns `{"accuracy": float32 []}` over the real examples of a batch, or over their tokens.

        Args:
          logits: The outputs of the model.
          labels: The labels.
          mask: bool [B]; False where an example is padding.

        Returns:
          The accuracy, or {} for a task without `hits`.
        """
        if self.hits is None:
            return {}
        real = counted(labels, mask) if self.by_token else mask
        right = jnp.sum(self.hits(logits, labels) & real)
        return {"accuracy": right / jnp.maximum(jnp.sum(real), 1)}
