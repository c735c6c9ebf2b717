"""The objective: a sum of terms with weights that may follow a schedule. The task's loss is one term."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jtransfer.core import fields
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import Registry
from jtransfer.objectives.sums import values
from jtransfer.objectives.term import FEATURES, STRONG, Context, Metrics, Term, View, Wanted

TERMS = Registry(
    "objective term",
    {
        "task": "jtransfer.objectives.task:task",
        "adapter_orthogonality": "jtransfer.peft.adalora:orthogonality",
        "adda": "jtransfer.objectives.adda:adda",
        "afn": "jtransfer.objectives.unlabelled:afn",
        "attention": "jtransfer.objectives.students:attention",
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
        "fixmatch": "jtransfer.objectives.self_training:fixmatch",
        "hint": "jtransfer.objectives.students:hint",
        "infomax": "jtransfer.objectives.unlabelled:infomax",
        "jan": "jtransfer.objectives.aligning:jan",
        "kd": "jtransfer.objectives.students:kd",
        "kd_chunks": "jtransfer.objectives.students:kd_chunks",
        "l2sp": "jtransfer.objectives.regularizers:l2sp",
        "lwf": "jtransfer.objectives.behaviour:lwf",
        "mcc": "jtransfer.objectives.unlabelled:mcc",
        "mcd": "jtransfer.objectives.domains:mcd",
        "mdd": "jtransfer.objectives.domains:mdd",
        "mmd": "jtransfer.objectives.aligning:mmd",
        "pseudo": "jtransfer.objectives.self_training:pseudo",
        "rdrop": "jtransfer.objectives.regularizers:rdrop",
        "rkd": "jtransfer.objectives.students:rkd",
        "shot": "jtransfer.objectives.self_training:shot",
        "sinkhorn": "jtransfer.objectives.transport:sinkhorn",
        "uncertainty": "jtransfer.objectives.uncertainty:uncertainty",
    },
)
"""Name → `make(context, **fields) -> Term`."""


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
    def teachers(self) -> tuple[Wanted, ...]:
        """What all terms together ask of teachers, each once."""
        return tuple(dict.fromkeys(wanted for term in self.terms.values() for wanted in term.teachers))

    @property
    def features(self) -> tuple[str, ...]:
        """The stages whose outputs the terms need."""
        return tuple(sorted(need.removeprefix(FEATURES) for need in self.needs if need.startswith(FEATURES)))

    @property
    def strong(self) -> frozenset[str]:
        """The streams of which the terms need a second view of each example."""
        return frozenset(need.removeprefix(STRONG) for need in self.needs if need.startswith(STRONG))

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
    entries = _entries(config)
    if not entries:
        raise InputError('config.objective is empty; give [("task", 1.0)], or other terms')
    terms = {key: _make(name, context, given) for key, (name, _, given) in entries.items()}
    return Objective(terms, {key: weight for key, (_, weight, _) in entries.items()})


def weights(config: Sequence[Any]) -> dict[str, optax.Schedule]:
    """Returns the weight of each term that `config.objective` describes, as a function of the step.

    Raises:
      InputError: an entry or a weight is none.
    """
    return {key: weight for key, (_, weight, _) in _entries(config).items()}


def _entries(config: Sequence[Any]) -> dict[str, tuple[str, optax.Schedule, dict[str, Any]]]:
    """The key of each term in the log → its name, its weight and its fields."""
    found: dict[str, tuple[str, optax.Schedule, dict[str, Any]]] = {}
    for entry in config:
        name, given = _entry(entry)
        weight = _weight(given.pop("weight", 1.0), name)
        found[_unused(name.rpartition(":")[2], found)] = name, weight, given
    return found


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    name, *rest = (entry,) if isinstance(entry, str) else tuple(entry)
    if not isinstance(name, str) or len(rest) > 1:
        raise InputError(f'objective: {entry!r} is none of "name", ("name", weight) and ("name", {{"weight": …}})')
    given = rest[0] if rest else {}
    return name, dict(given) if isinstance(given, Mapping) and "schedule" not in given else {"weight": given}


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    names = (name, *(f"{name}_{i}" for i in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def _make(name: str, context: Context, given: Mapping[str, Any]) -> Term:
    build = TERMS[name]
    fields.check("objective", "objective term", name, build, given, skip=1)
    term = build(context, **given)
    for need in term.needs:
        _check_stage(name, context, need)
    return term


def _check_stage(name: str, context: Context, need: str) -> None:
    stages, stage = tuple(getattr(context.model, "stages", ())), need.removeprefix(FEATURES)
    if need.startswith(FEATURES) and stages and stage not in stages:
        raise unknown(f"stage that the objective term {name!r} looks at:", stage, stages)


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
