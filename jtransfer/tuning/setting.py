"""What a choice of a strategy is made of: data, splits, budget and what decides."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from etils import epath

from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.data import num_steps
from jtransfer.runs import build, evaluation, feed
from jtransfer.runs import config as configs
from jtransfer.tuning import budget as budgets
from jtransfer.tuning import candidates, held_out, trials
from jtransfer.tuning.candidates import Candidate

_ENDLESS = 10**6  # steps of a run that a clock ends


class Setting(NamedTuple):
    """What stays the same over a choice.

    Attributes:
      run: Of the config, opened.
      budget: The whole, and what each candidate may cost in each round.
      shares: Of the rounds.
      train, validation: The splits.
      every: Steps between two looks at the validation split.
      metric: Which chooses.
      sign: -1 where less of it is better.
      folder: Of the choice.
      classes: The number of classes that have training labels; 0 where they are no classes.
      held: How many examples are in the validation split.
    """

    run: Any
    budget: budgets.Budget
    shares: Sequence[float]
    train: str
    validation: str
    every: int
    metric: str
    sign: int
    folder: epath.Path
    classes: int
    held: int


def setting(config: Any, place: str | os.PathLike, budget: str) -> tuple[Setting, list[Candidate]]:
    """Returns what a choice is made of. Nothing is written.

    Args:
      config: A config whose `phases` may be "auto".
      place: The folder of the choice.
      budget: As `config.auto.budget`, which "" takes.

    Raises:
      InputError: The config, the data, or the budget is wrong.
    """
    if jax.process_count() > 1:
        raise InputError("a strategy is chosen on one machine: run jtransfer.advise there, and then its winner.py here")
    full = _without_phases(config)
    _check(full)
    run = build.opened(full, f"{place}/.none", sharding.make_mesh(full.mesh.to_dict()))
    source = run.target.whole["train"]
    held_out.check(source, f"data.train={full.data.train!r}")
    found = candidates.of(run)
    whole = budgets.parse(budget or full.auto.budget, full.batch_size)
    shares = budgets.shares(whole, len(found))
    train, validation = held_out.of(full, source)
    epoch = max(1, num_steps(len(source), full.batch_size))
    every = max(1, int(shares[0]) // 2) if whole.unit == "steps" else min(50, max(10, epoch))
    decided = run._replace(config=full)
    metric = full.early_stop.metric or run.target.task.metric
    sign = int(evaluation.value(decided, 1.0))
    classes = len(set(source.labels.tolist())) if source.label_kind == "class" else 0
    held = len(run.target.whole["validation"]) if full.data.validation else len(feed.opened(run, validation))
    made = Setting(run, whole, shares, train, validation, every, metric, sign, epath.Path(place), classes, held)
    return made, found


def _without_phases(config: Any) -> Any:
    """The complete config with a phase in place of "auto"."""
    full = configs.fill(config)
    made = configs.complete({**full, "phases": [configs.phase("finetune", steps=1)]}).unlock()
    made.base = full["base"]  # which depends on what is chosen
    return made.lock()


def _check(full: Any) -> None:
    if full.init == "scratch":
        raise InputError("config.init='scratch': there is nothing to transfer; name the weights to choose a use for")
    asked = {name: bool(full[name]) for name in ("streams", "adapters", "adapters_init", "quantize", "init_parts")}
    if wrong := [name for name, given in asked.items() if given]:
        raise InputError(f"config.{wrong[0]}: a strategy is chosen for one data set and a whole model; leave it out")


def trial(made: Setting, candidate: Candidate) -> Any:
    """Returns the config of a candidate's run in the search, whose rate stays after the warm-up, for nobody knows yet
    how long it goes on."""
    steps = _ENDLESS
    if made.budget.unit == "steps":
        steps = sum(int(one) for one in made.shares)
    head = min(made.every, max(1, steps - 1))
    phases = candidate.phases(head, max(1, steps - head) if candidate.after_head else steps)
    warmup = min(made.run.config.optim.warmup, made.every - 1)
    changed = {"optim.schedule": "constant", "optim.warmup": warmup, "data.train": made.train}
    return trials.without_test(
        candidates.config_of(_given(made), candidate, phases, changed), made.validation, made.every
    )


def winner(made: Setting, candidate: Candidate, steps: int) -> Any:
    """Returns the config of the winner's own run: as long as its run in the search, with the config's own schedule.

    What was held out to choose by is trained on, too, as many times; a validation split that the config names chooses
    the checkpoint. The test split is looked at when phases end, and not before.
    """
    config, held = made.run.config, not made.run.config.data.validation
    head = made.every if candidate.after_head else 0
    whole = len(made.run.target.whole["train"])
    more = whole / (whole - made.held) if held else 1.0
    steps = max(1, round(max(steps - head, 1) * more))
    first = round(head * more)
    phases = candidate.phases(first, steps)
    warmup = min(config.optim.warmup, max(steps // 2 - 1, 0), *([first - 1] if first else []))
    chosen = candidates.config_of(_given(made), candidate, phases, {"optim.warmup": warmup})
    return trials.tested_at_ends(chosen)


def _given(made: Setting) -> Any:
    config = made.run.config.copy_and_resolve_references().unlock()
    config.auto = configs.default().auto
    return config
