"""The objective: a sum of terms with weights that may follow a schedule. The task's loss is one term."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import Registry
from jtransfer.objectives.sums import Mean, values

TARGET = "target"  # the stream of `config.data`
FEATURES = "features:"
Metrics = Mapping[str, jax.Array | Mean]

TERMS = Registry(
    "objective term",
    {
        "task": "jtransfer.objectives.task:task",
        "adapter_orthogonality": "jtransfer.peft.adalora:orthogonality",
        "afn": "jtransfer.objectives.unlabelled:afn",
        "bituning": "jtransfer.objectives.bituning:bituning",
        "bnm": "jtransfer.objectives.unlabelled:bnm",
        "bsp": "jtransfer.objectives.aligning:bsp",
        "bss": "jtransfer.objectives.unlabelled:bss",
        "cdan": "jtransfer.objectives.domains:cdan",
        "coral": "jtransfer.objectives.aligning:coral",
        "cotuning": "jtransfer.objectives.behaviour:cotuning",
        "dann": "jtransfer.objectives.domains:dann",
        "delta": "jtransfer.objectives.behaviour:delta",
        "entropy": "jtransfer.objectives.unlabelled:entropy",
        "ewc": "jtransfer.objectives.ewc:ewc",
        "infomax": "jtransfer.objectives.unlabelled:infomax",
        "jan": "jtransfer.objectives.aligning:jan",
        "l2sp": "jtransfer.objectives.regularizers:l2sp",
        "lwf": "jtransfer.objectives.behaviour:lwf",
        "mcc": "jtransfer.objectives.unlabelled:mcc",
        "mcd": "jtransfer.objectives.domains:mcd",
        "mdd": "jtransfer.objectives.domains:mdd",
        "mmd": "jtransfer.objectives.aligning:mmd",
        "rdrop": "jtransfer.objectives.regularizers:rdrop",
        "uncertainty": "jtransfer.objectives.uncertainty:uncertainty",
    },
)
"""Name → `make(context, **fields) -> Term`."""


class View(NamedTuple):
    """What a term sees of a training step.

    Attributes:
      outputs: stream → stage → what the stage returned. "head" is what the model returned; other stages are there if a
        term needs them.
      batch: stream → the batch, with `inputs` as the model got them, `label` as the data say it, `target` (the same, or
        soft labels where the inputs were mixed), `index` and `mask`.
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


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the objective.

    Attributes:
      loss: `view -> (value, {metric: number})`, differentiable and jittable. A number is a float32 [] or a `Mean`, and
        the value is a number or a tree of numbers that are added up. Where gradients are accumulated, a term whose
        numbers all are means is computed part by part; any other is given the outputs for the whole batch.
      needs: what the view must have beyond the model's outputs: `"features:<stage>"`, `"initial"`, or
        `"initial_network"` for `initially`.
      init: `(key, outputs) -> variables` of the term's own modules, where it has some; `outputs` are the shapes of
        `View.outputs`.
      constants: `(variables, outputs) -> tree` of arrays that are kept with the run and never change, from the
        variables that it begins with. Pure.
      measure: `(survey, constants) -> tree` of the same shapes, what is known when the network has been looked at.
      tasks: names of the numbers of the value, where that is a dict of them and each is of a task of its own.
    """

    loss: Callable[[View], tuple[Any, Metrics]]
    needs: tuple[str, ...] = ()
    init: Callable[[jax.Array, Mapping[str, Any]], Mapping[str, Any]] | None = None
    constants: Callable[[Mapping[str, Any], Mapping[str, Any]], Any] | None = None
    measure: Callable[[Survey, Any], Any] | None = None
    tasks: tuple[str, ...] = ()


class Stream(NamedTuple):
    """What a term may know of a stream of examples.

    Attributes:
      loss: `(logits, labels, mask) -> float32 []`, or a `Mean`, the loss of the stream's task.
      accuracy: `(logits, labels, mask) -> {metric: float32 []}`, or means, over a batch.
      weight: of the stream's loss, beside its share of the examples.
    """

    loss: Callable[..., jax.Array | Mean]
    accuracy: Callable[..., Metrics]
    weight: float = 1.0


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
    """

    model: Any
    streams: Mapping[str, Stream]
    total_steps: int
    source: Callable[[], Source] | None = None


class Objective(NamedTuple):
    """A weighted sum of terms: `objective(view) -> (loss, metrics)`.

    Attributes:
      terms: name → term.
      weights: name → `step -> weight`.
      named: whether the value of a term is among the metrics even where there is one term only.
    """

    terms: Mapping[str, Term]
    weights: Mapping[str, optax.Schedule]
    named: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """What all terms together need."""
        return frozenset(need for term in self.terms.values() for need in term.needs)

    @property
    def features(self) -> tuple[str, ...]:
        """The stages whose outputs the terms need."""
        return tuple(sorted(need.removeprefix(FEATURES) for need in self.needs if need.startswith(FEATURES)))

    def __call__(self, view: View) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum, and the metrics: `loss`, those of the terms and, of several terms, the value of each."""
        return self.weighted(self.found(view, tuple(self.terms)), view.step)

    def found(self, view: View, names: Sequence[str]) -> dict[str, tuple[Any, Metrics]]:
        """What some of the terms give, each with the variables of its own."""
        own, kept = (view.variables.get(collection, {}) for collection in ("aux", "constants"))
        return {n: self.terms[n].loss(view._replace(own=own.get(n), constants=kept.get(n))) for n in names}

    def weighted(
        self, found: Mapping[str, tuple[Any, Metrics]], step: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum of what some of the terms gave at a step, and the metrics."""
        total, metrics = jnp.zeros((), jnp.float32), {}
        for name in (name for name in self.terms if name in found):
            value, more = values(found[name])
            value = sum(jax.tree.leaves(value))
            total = total + self.weights[name](step) * value
            metrics |= {**more, **({name: value} if len(self.terms) > 1 or self.named else {})}
        return total, {"loss": total, **metrics}


def make(config: Sequence[Any], context: Context) -> Objective:
    """The objective that `config.objective` describes.

    Args:
      config: entries `name`, `(name, weight)` or `(name, {"weight": weight, **fields})`. A weight is a number, or
        `{"schedule": name, **arguments}` with the name and arguments of a schedule of optax.
      context: what the terms are made from.

    Raises:
      InputError: no such term or field, or a weight that is none.
    """
    terms, weights = {}, {}
    for entry in config:
        name, fields = _entry(entry)
        key = _unused(name.rpartition(":")[2], terms)
        weights[key] = _weight(fields.pop("weight", 1.0), name)
        terms[key] = _make(name, context, fields)
    if not terms:
        raise InputError('config.objective is empty; give [("task", 1.0)], or other terms')
    return Objective(terms, weights)


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    name, *rest = (entry,) if isinstance(entry, str) else tuple(entry)
    if not isinstance(name, str) or len(rest) > 1:
        raise InputError(f'objective: {entry!r} is none of "name", ("name", weight) and ("name", {{"weight": …}})')
    given = rest[0] if rest else {}
    return name, dict(given) if isinstance(given, Mapping) and "schedule" not in given else {"weight": given}


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    names = (name, *(f"{name}_{i}" for i in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def _make(name: str, context: Context, fields: Mapping[str, Any]) -> Term:
    build = TERMS[name]
    known = list(inspect.signature(build).parameters)[1:]
    for field in fields:
        if field not in known:
            raise unknown(f"field of the objective term {name!r}:", field, known)
    return build(context, **fields)


def _weight(given: Any, name: str) -> optax.Schedule:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return optax.constant_schedule(float(given))
    if not isinstance(given, Mapping) or "schedule" not in given:
        raise InputError(f'objective: the weight of {name!r} is {given!r}; give a number or {{"schedule": …}}')
    arguments = dict(given)
    schedule = arguments.pop("schedule")
    known = [n for n in dir(optax) if n.endswith("_schedule") and inspect.isfunction(getattr(optax, n))]
    if schedule not in known:
        raise unknown("schedule of optax", schedule, known)
    try:
        return getattr(optax, schedule)(**arguments)
    except TypeError as error:
        raise InputError(f"objective: the weight of {name!r}: {error}") from None
