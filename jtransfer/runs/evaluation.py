"""The evaluators of a run: which are due at a step, and what they say, by split."""

import contextvars
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jtransfer import metrics
from jtransfer.core import fields
from jtransfer.core.errors import InputError, unknown
from jtransfer.data import num_steps, without_labels
from jtransfer.evaluators import EVALUATORS, Context, Evaluate, label_free
from jtransfer.runs import predictions, protocol
from jtransfer.runs import source as sources
from jtransfer.runs.feed import Feed, blank_table

Run = Any  # build.Run

Table = Callable[[Mapping[str, Any], str], dict[str, Any]]

_ASKED: contextvars.ContextVar[dict | None] = contextvars.ContextVar("asked", default=None)
"""Split → table, while evaluators are asked."""
_FORESEEN = ("split", "generation", "label_free", "tasks")
"""Evaluators of which it is known what they tell."""

VALIDATION, TEST = "validation", "test"
SELECTION = "selection"  # the "split" of what decides without labels of the target, in the log
ENDS = -1  # `every`, of evaluators that are asked at the end of each phase alone


class Evaluator(NamedTuple):
    """One entry of `config.evals`.

    Attributes:
      name, split, every: as in the config.
      evaluate: `variables -> (name, value)…`.
    """

    name: str
    split: str
    every: int
    evaluate: Evaluate


class Outcome(NamedTuple):
    """What the evaluators of one split said: numbers to log, and arrays [N, …] to keep."""

    scalars: dict[str, float]
    table: dict[str, np.ndarray]


def make(fed: Feed) -> list[Evaluator]:
    """The evaluators of a run, in order.

    They are those of `config.evals` whose splits there are; for a task that generates what is wanted, the evaluation of
    that on the same splits; where labels of the target are not learned from, what decides without them; and, at the
    end of each phase, that of other tasks that have a test split.

    Raises:
      InputError: no such evaluator or field.
    """
    context, config = fed.context(), fed.run.config
    context = context._replace(table=_once(context.table))
    entries = [entry for entry in config.evals if _is_there(context, entry.split)]
    made = [_make(context, entry.name, entry.split, entry.every, entry.fields.to_dict()) for entry in entries]
    if context.task.generates == "targets" and config.generate.num_examples:
        splits = {entry.split: entry.every for entry in entries if entry.name == "split"}
        asked = {(entry.name, entry.split) for entry in entries}
        made += [
            _make(context, "generation", split, every, {})
            for split, every in splits.items()
            if ("generation", split) not in asked
        ]
    if scores := protocol.scores(fed.run):
        split = VALIDATION if VALIDATION in fed.run.target.sources else "train"
        made.append(Evaluator("label_free", SELECTION, 0, label_free.make(context, split, scores=scores)))
    if TEST in {entry.split for entry in entries} and not any(entry.name == "tasks" for entry in entries):
        made += [_make(context, "tasks", TEST, ENDS, {})] if context.others(TEST) else []
    return made


def before(context: Context, variables: Mapping[str, Any]) -> dict[str, float]:
    """What the source task's test split says of the network that a run begins with; nothing where it is not named."""
    if sources.NAME not in context.others(TEST):
        return {}
    return ask([_make(context, "tasks", TEST, ENDS, {"only": (sources.NAME,)})], variables)[TEST].scalars


def _is_there(context: Context, split: str) -> bool:
    there = split not in (VALIDATION, TEST) or bool(context.config.data[split])
    return there and not without_labels.is_unlabelled(context.source("train"))


def _make(context: Context, name: str, split: str, every: int, given: Mapping[str, Any]) -> Evaluator:
    if every < ENDS:
        raise InputError(f"evals: every={every} must be a number of steps, 0 for eval_every, or -1 for ends of phases")
    build = EVALUATORS[name]
    fields.check("evals", "evaluator", name, build, given, skip=2)
    return Evaluator(name, split, every, build(context, split, **given))


def interval(run: Run) -> int:
    """Steps between evaluations: `config.eval_every`, by default an epoch, but at least 50."""
    return run.config.eval_every or max(50, num_steps(len(run.target.sources["train"]), run.config.batch_size))


def due(evaluators: list[Evaluator], run: Run, since: int, *, last: bool) -> list[Evaluator]:
    """The evaluators that are due after so many steps of a phase.

    Args:
      evaluators: of the run.
      run: the run.
      since: steps of the phase that are done.
      last: whether these are all; then every evaluator is due.
    """
    held = VALIDATION in run.target.sources

    def is_due(one: Evaluator) -> bool:
        if last or one.every > 0:
            return last or since % one.every == 0
        rarely = one.every == ENDS or (one.split == TEST and held)
        return not rarely and since % interval(run) == 0

    return [one for one in evaluators if is_due(one)]


def ask(evaluators: list[Evaluator], variables: Mapping[str, Any]) -> dict[str, Outcome]:
    """Split → what its evaluators say, in order."""
    outcomes: dict[str, Outcome] = {}
    asked = _ASKED.set({})
    try:
        for one in evaluators:
            outcome = outcomes.setdefault(one.split, Outcome({}, {}))
            for name, value in one.evaluate(variables):
                if isinstance(value, np.ndarray) and value.ndim:
                    outcome.table[name] = value
                else:
                    outcome.scalars[name] = float(value)
    finally:
        _ASKED.reset(asked)
    return outcomes


def _once(table: Table) -> Table:
    """The same, with which evaluators that are asked together look at each split once."""

    def of_split(variables: Mapping[str, Any], split: str) -> dict[str, Any]:
        asked = _ASKED.get()
        if asked is None:
            return table(variables, split)
        if (key := (id(variables), split)) not in asked:
            asked[key] = table(variables, split)
        return asked[key]

    return of_split


def score(run: Run, scalars: Mapping[str, float], *, last: bool) -> float | None:
    """What tells a better model, the larger, the better; None where the evaluators that were due do not give it.

    Args:
      run: the run.
      scalars: what the evaluators of the split that decides say.
      last: whether all evaluators were due.

    Raises:
      InputError: all were due, and the metric of `early_stop` is none of theirs.
    """
    name = metric(run)
    if name not in scalars and last:
        raise unknown("early_stop.metric", name, scalars)
    if name not in scalars:
        return None
    return scalars[name] * _sign(run, name)


def value(run: Run, score: float) -> float:
    """The metric's own value of a score."""
    return score * _sign(run, metric(run))


def _sign(run: Run, name: str) -> int:
    return -1 if _declared(run, name).less_is_better else 1


def metric(run: Run) -> str:
    """The name of the metric that tells a better model."""
    own, score = run.config.early_stop.metric or run.target.task.metric, protocol.decides(run)
    if score == label_free.SOURCE:
        return f"{score}/{own}"
    return score if score in label_free.SCORES else own


def deciding(run: Run) -> str:
    """The split whose evaluators tell a better model; "" where none does."""
    score = protocol.decides(run)
    return SELECTION if score in label_free.SCORES else VALIDATION if score else ""


def _declared(run: Run, name: str) -> metrics.Metric:
    own = {found.name: found for found in map(metrics.load, run.config.metrics)}
    name = name.removeprefix(f"{label_free.SOURCE}/")
    return own.get(name) or metrics.get(name)


def check(run: Run) -> None:
    """Makes the evaluators, and asks them of a table of zeros; nothing is computed.

    Raises:
      InputError: there is no such evaluator, or `early_stop.metric` is none that an evaluation of the validation split
        gives.
    """
    protocol.check(run)
    fed = Feed(run)
    made, split = make(fed), deciding(run)
    evaluators = [one for one in made if one.split == split]
    wanted = run.config.early_stop.metric
    if run.config.early_stop.patience and not evaluators:
        raise InputError(f"early_stop needs an evaluator of the split {split!r} in config.evals")
    if not wanted or any(one.name not in _FORESEEN for one in evaluators):
        return
    blank = blank_table(run)
    context = fed.context()._replace(table=lambda variables, split: blank)
    known = [name for name, value in EVALUATORS["split"](context, VALIDATION)({}) if np.ndim(value) == 0]
    known += ["bleu", "chrf"] if any(one.name == "generation" for one in made) else []
    if wanted not in known:
        raise unknown("early_stop.metric", wanted, known)


def again(run: Run, state: Any) -> dict[str, float]:
    """Returns the metrics on the test split of a run that had ended before, in the state that it ended with."""
    evaluators = [one for one in make(Feed(run)) if one.split == TEST]
    outcomes = ask(evaluators, state.variables(average=True))
    if TEST not in outcomes:
        return {}
    predictions.write(run.folder, outcomes[TEST].table)
    return outcomes[TEST].scalars
