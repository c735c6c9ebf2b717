"""The contract of a term of the objective: what it sees, what it says of itself, and what it is made from."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from jtransfer.objectives.sums import Mean

TARGET = "target"  # the stream of `config.data`
FEATURES = "features:"
STRONG = "strong:"
Metrics = Mapping[str, jax.Array | Mean]


class View(NamedTuple):
    """What a term sees of a training step.

    Attributes:
      outputs: stream → stage → what the stage returned. "head" is what the model returned; other stages are there if a
        term needs them.
      batch: stream → the batch, with `inputs` as the model got them, `label` as the data say it, `target` (the same, or
        soft labels where the inputs were mixed), `index` and `mask`; `strong`, a second view of the inputs, if a term
        needs it; and `teacher`, teacher → `Wanted.key` → what terms asked of it (`taught.found`).
      variables: the collections of variables of this step.
      initial: the parameters that the run began with; None unless a term needs "initial".
      key: a random key of this step's, the same for each term.
      step: int32 [], optimizer steps before this one since the start of the run.
      forward: `forward(x, key) -> output`, one more pass of the model in training.
      own: the variables of the term's own modules, those that its `init` made.
      constants: what the term's `constants` made and its `measure` measured.
      initially: `initially(stream, stages) -> {stage: output}`, what the network that the run began with returns for a
        stream's examples, in evaluation and without a gradient; "head" is its output.
    """

    outputs: Mapping[str, Mapping[str, Any]]
    batch: Mapping[str, Mapping[str, Any]]
    variables: Mapping[str, Any]
    initial: Mapping[str, Any] | None
    key: jax.Array
    step: jax.Array
    forward: Callable[[Any, jax.Array], Any]
    own: Any = None
    constants: Any = None
    initially: Callable[[str, Sequence[str]], Mapping[str, Any]] | None = None


class Survey(NamedTuple):
    """What a term may measure with, once, before the first step.

    Attributes:
      variables: of the network that the run begins with.
      look: `look(variables, inputs, stages) -> {stage: output}`, the model in evaluation; pure. `inputs` are a
        batch's.
      resume: `resume(variables, x, after, stages) -> {stage: output}`, the same from what the stage `after` returned.
      batches: `batches(name, most) -> batches`, the training examples of the target, or with "source" those of the
        source task, as the model gets them in evaluation: every one once, or where they are more than `most`, so many,
        evenly spread; 0 is all.
    """

    variables: Mapping[str, Any]
    look: Callable[..., Mapping[str, Any]]
    resume: Callable[..., Mapping[str, Any]]
    batches: Callable[[str, int], Iterator[Mapping[str, Any]]]


class Wanted(NamedTuple):
    """What a term asks of a teacher for each example of a stream.

    Attributes:
      teacher: its name.
      stream: the stream.
      output: "head", what the teacher returns; a stage; or "chunks", how probable it takes each chunk of a text whose
        ends its tokens share with the student's (`chunks.align`).
      top: of "head", the number of classes of which the log-probabilities are wanted, the most probable ones; 0 is the
        logits of all.
      temperature: of these log-probabilities.
    """

    teacher: str
    stream: str
    output: str = "head"
    top: int = 0
    temperature: float = 1.0

    @property
    def key(self) -> str:
        """The name of what is wanted, whoever the teacher is and whatever the stream."""
        return f"{self.output} top {self.top} at {self.temperature}" if self.top else self.output


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the objective.

    Attributes:
      loss: `view -> (value, {metric: number})`, differentiable and jittable. A number is a float32 [] or a `Mean`, and
        the value is a number or a tree of numbers that are added up. Where gradients are accumulated, a term whose
        numbers all are means is computed part by part; any other is given the outputs for the whole batch.
      needs: what the view must have beyond the model's outputs: `"features:<stage>"`, `"strong:<stream>"`,
        `"initial"`, or `"initial_network"` for `initially`.
      init: `(key, outputs) -> variables` of the term's own modules, where it has some; `outputs` are the shapes of
        `View.outputs`.
      constants: `(variables, outputs) -> tree` of arrays that are kept with the run and never change, from the
        variables that it begins with. Pure.
      measure: `(survey, constants) -> tree` of the same shapes, what is known when the network has been looked at.
      tasks: names of the numbers of the value, where that is a dict of them and each is of a task of its own.
      teachers: what teachers are to tell of the examples, which then is in the view's batch.
    """

    loss: Callable[[View], tuple[Any, Metrics]]
    needs: tuple[str, ...] = ()
    init: Callable[[jax.Array, Mapping[str, Any]], Mapping[str, Any]] | None = None
    constants: Callable[[Mapping[str, Any], Mapping[str, Any]], Any] | None = None
    measure: Callable[[Survey, Any], Any] | None = None
    tasks: tuple[str, ...] = ()
    teachers: tuple[Wanted, ...] = ()


class Stream(NamedTuple):
    """What a term may know of a stream of examples.

    Attributes:
      loss: `(logits, labels, mask) -> float32 []`, or a `Mean`, the loss of the stream's task.
      accuracy: `(logits, labels, mask) -> {metric: float32 []}`, or means, over a batch.
      weight: of the stream's loss, beside its share of the examples.
      predicts: what the model's outputs are of: "class", "classes" (yes or no for each), "number", or "" for something
        else, such as an embedding.
      by_token: whether there is a prediction for each token with a label (not -1), and not one for each example.
    """

    loss: Callable[..., jax.Array | Mean]
    accuracy: Callable[..., Metrics]
    weight: float = 1.0
    predicts: str = "class"
    by_token: bool = False


class Teacher(NamedTuple):
    """What a term may know of a teacher.

    Attributes:
      stages: the names of its stages, in order.
      shape: from a stage's name to the shape of what it returns for a batch of one.
    """

    stages: tuple[str, ...]
    shape: Callable[[str], tuple[int, ...]]


class Source(NamedTuple):
    """The task that the network was trained to do before the run: what its init had learnt.

    Attributes:
      classes: the number of outputs of its head.
      shares: whether its classes are the target's, so that the model's head is its head, too.
      params: the head's parameters.
      head: `head(params, x) -> output`, of what the stage before the head returns.
      loss: `(logits, labels, mask)`, as of a `Stream`; None where the source's data are not named.
    """

    classes: int
    shares: bool
    params: Any
    head: Callable[[Any, Any], Any]
    loss: Callable[..., jax.Array | Mean] | None = None


class Context(NamedTuple):
    """What a term is made from.

    Attributes:
      model: the Linen module.
      streams: name → `Stream`, the target first.
      total_steps: of all phases.
      source: tells the source task; an InputError where the run's init has none.
      teachers: name → `Teacher`.
    """

    model: Any
    streams: Mapping[str, Stream]
    total_steps: int
    source: Callable[[], Source] | None = None
    teachers: Mapping[str, Teacher] = MappingProxyType({})
