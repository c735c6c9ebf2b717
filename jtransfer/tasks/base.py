"""What a task is: what it needs of examples and models, its loss, its metrics, and how its results are shown."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer.objectives import Mean, counted
from jtransfer.tasks import columns

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
    """What a model is trained to do, whatever its inputs are.

    During an evaluation `keep` is applied to each batch, on the devices. What it returns is gathered into a table, a
    dict of arrays with a row for each example. `score` computes the metrics from this table, and `finish` makes from it
    what is saved as the predictions.

    Attributes:
      name: The task's name in a config.
      score: A function from a table and the names of the classes to pairs of a metric's name and its value.
      loss: The name of the loss that is used unless the config names another (`objectives.LOSSES`).
      label_kinds: The kinds of labels that the task takes (`data.Source.label_kind`); empty if it uses no labels.
      form: What the model is given of an example: "single" (one input), "pair" (two inputs that belong together),
        "tokens" (an input with a label for each of its parts), "seq2seq" (an input and a sequence to produce) or
        "causal" (a sequence that is its own label). A modality serves the forms that it has a transform for.
      keep: A jittable function from the logits and the labels of a batch to a dict of arrays [B, …].
      by_row: A function from a table to further arrays of it, from which `score` computes the metrics faster. They are
        of each example alone, so that the metrics of any of the rows can be computed.
      finish: A function from the table of all examples to the table that is saved.
      metric: The metric by which the best checkpoint is chosen, unless the config names another.
      hits: A function from logits and labels to bool [B] or [B, n], which says what is predicted correctly. None for
        tasks without right and wrong, such as regression.
      by_token: Whether labels are int32 [B, n], one for each token, with -1 for a token without a label.
      head: The kind of head that the model needs ("classify", "tag" or "embed"); "" if models have only one kind.
      blank: A function from the number of classes to the label that stands in for the unknown one in `predict`.
      lines: A function from the inputs, the table and the names of the classes to the lines that `predict` prints
        (`tasks.printing`).
      columns: A function from the inputs, the table, the names of the classes and a number k of classes to show to the
        columns that `predict` writes, name → values [N] or arrays [N, …] (`tasks.columns`).
      average: A function from the outputs of several views of the same examples [V, B, …] and the temperature that they
        will be divided by to their average [B, …] (`tasks.averages`); None where there is no such average.
      answers: A function from the inputs, the table, the names of the classes and the number of classes that are wanted
        to a dict of numbers and texts for each example, which a server answers (`tasks.answers`). None gives the arrays
        of the table.
      shown: The metrics that a report compares, the most important first.
      sections: What a report shows of the predictions: "classes", "numbers" or "texts".
      generates: "targets" if the model generates texts that an evaluation compares with the wanted ones, "more" if it
        continues a text, "" if it generates nothing.
      wrap: A function from a loss to the loss of this task's outputs; both take outputs, labels and the mask.
    """

    name: str
    score: Score
    loss: str = "softmax"
    label_kinds: tuple[str, ...] = ("class",)
    form: str = "single"
    keep: Callable[[Any, Any], dict[str, Any]] = as_logits
    by_row: Callable[[Table], Table] = as_it_is
    finish: Callable[[Table], Table] = as_it_is
    metric: str = "loss"
    hits: Callable[[Any, Any], jax.Array] | None = None
    by_token: bool = False
    head: str = ""
    blank: Callable[[int], Any] = lambda classes: 0
    lines: Callable[..., Iterator[str]] | None = None
    columns: Callable[..., dict[str, Any]] = columns.arrays
    average: Callable[[Any, float], Any] | None = None
    answers: Callable[..., Iterator[dict[str, Any]]] | None = None
    shown: tuple[str, ...] = ("loss",)
    sections: tuple[str, ...] = ()
    generates: str = ""
    wrap: Callable[[Callable], Callable] = whole

    def objective(self, loss: Callable) -> Callable:
        """Returns the loss of this task, a function of outputs, labels and mask to what the given one returns.

        Args:
          loss: The loss function, from `objectives.create`, or its `sums`.
        """
        return by_token(loss) if self.by_token else self.wrap(loss)

    def accuracy(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> dict[str, Mean]:
        """Returns the accuracy, as a mean over the real examples of a batch, or over their tokens.

        Args:
          logits: The outputs of the model.
          labels: The labels.
          mask: bool [B]; False where an example is padding.

        Returns:
          `{"accuracy": Mean}`, or {} for a task without `hits`.
        """
        if self.hits is None:
            return {}
        real = counted(labels, mask) if self.by_token else mask
        right = jnp.sum(self.hits(logits, labels) & real, dtype=jnp.float32)
        return {"accuracy": Mean(right, jnp.sum(real))}
