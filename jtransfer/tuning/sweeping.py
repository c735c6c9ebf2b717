"""A sweep over fields of a config with Optuna: each trial is a run, and the validation split tells which go on."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from etils import epath

from jtransfer import train
from jtransfer.core import stopping, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.runs import build, evaluation, filling, lock, log
from jtransfer.runs import config as configs
from jtransfer.tuning import config_text, held_out, spaces, trials
from jtransfer.tuning.spaces import Space

JOURNAL, TABLE, WINNER = "sweep.journal", "sweep.json", "winner.py"


class Trial(NamedTuple):
    """One trial of a sweep.

    Attributes:
      number: Of the trial.
      values: Field → value.
      state: "complete", "pruned", or "failed".
      metric: The best value on the validation split; None where it failed.
      steps: Of training.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    metric: float | None
    steps: int


class Sweep(NamedTuple):
    """What a sweep has come to.

    Attributes:
      best: The trial that is best on the validation split.
      trials: All, in order.
      config: Of the best one's run on all training examples.
      folder: Of that run.
      test: name → value, the metrics of that run on the test split.
      lines: What there is to say.
    """

    best: Trial
    trials: list[Trial]
    config: Any
    folder: str
    test: dict[str, float]
    lines: list[str]


class _Plan(NamedTuple):
    """What stays the same over a sweep."""

    config: Any
    spaces: list[Space]
    metric: str
    sign: int
    train: str
    validation: str
    folder: epath.Path


def sweep(config: Any, folder: str | os.PathLike, vary: Sequence[str], count: int = 20) -> Sweep:
    """Tries values of a config's fields, and trains with the best ones; the test split is looked at by that run alone.

    Values are drawn by Optuna's TPE sampler with seeds from `config.seed`; a trial that is worse than the median of
    those before it at the same step is stopped. Trials are compared by their best value on the validation split or,
    where the config names none, on a part of the training split. The same call goes on where it was stopped.

    Args:
      config: A config.
      folder: Of the sweep: a folder for each trial, a journal of Optuna, and the run of the winner.
      vary: What is varied, as ["optim.lr=log(1e-5,1e-2)", "adapters.rank=choice(4,8)"].
      count: How many trials.

    Raises:
      InputError: Optuna is missing, a field or a space is wrong, or the folder holds another sweep.
    """
    optuna = _optuna()
    if count < 1:
        raise InputError(f"--trials={count}: give at least one")
    plan = _plan(config, folder, spaces.parse(vary))
    with lock.hold(folder):
        return _sweep(optuna, plan, count)


def _sweep(optuna: Any, plan: _Plan, count: int) -> Sweep:
    study = _study(optuna, plan)
    with stopping.several(plan.folder) as between:
        for trial in _trials(optuna, study, plan, count):
            between()
            _tell(optuna, study, plan, trial)
            say(_line(plan, _trial(plan, study.trials[trial.number])))
        between()
        done = [_trial(plan, one) for one in study.trials]
        known = [one for one in done if one.metric is not None]
        if not known:
            raise InputError(f"no trial could be trained: {study.trials[0].user_attrs.get('why', '')}")
        best = max(known, key=lambda one: plan.sign * (one.metric or 0.0))
        chosen = _winner(plan, best)
        _write(plan, chosen, best, done)
        place = plan.folder / f"winner_{best.number:04}"
        test = train.run(chosen, place)
    lines = [*(_line(plan, one) for one in done), f"best: trial {best.number}; its run: {place}"]
    return Sweep(best, done, chosen, str(place), test, lines)


def _optuna() -> Any:
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("a sweep needs Optuna: pip install 'jtransfer[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _plan(config: Any, folder: str | os.PathLike, found: list[Space]) -> _Plan:
    if jax.process_count() > 1:
        raise InputError("a sweep runs on one machine; start one there, and its winner.py here")
    spaces.check(config, found)
    full = spaces.put(config, {space.field: space.values[0] for space in found if space.kind == "choice"})
    run = build.prepare(full, f"{folder}/.none")
    source = run.target.whole["train"]
    held_out.check(source, f"data.train={full.data.train!r}")
    part = held_out.of(full, source)
    metric = full.early_stop.metric or run.target.task.metric
    sign = int(evaluation.value(run, 1.0))
    return _Plan(configs.fill(config), found, metric, sign, *part, epath.Path(folder))


def _study(optuna: Any, plan: _Plan) -> Any:
    stated = {"config": json.loads(configs.complete(plan.config).to_json()), "vary": [list(s) for s in plan.spaces]}
    stated = json.loads(json.dumps(stated))
    new = not (plan.folder / JOURNAL).exists()
    if new and plan.folder.exists() and any(one.name != lock.FILE for one in plan.folder.iterdir()):
        raise InputError(f"{plan.folder} is not empty and holds no sweep; take another workdir")
    plan.folder.mkdir(parents=True, exist_ok=True)
    storages = optuna.storages
    storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(plan.folder / JOURNAL)))
    pruner = optuna.pruners.MedianPruner()
    study = optuna.create_study(
        storage=storage, study_name="sweep", direction="maximize", pruner=pruner, load_if_exists=True
    )
    before = study.user_attrs.get("stated", stated)
    if changed := filling.differences(before, stated):
        raise InputError(f"{plan.folder} holds another sweep; take another workdir. {'; '.join(changed)}")
    study.set_user_attr("stated", stated)
    return study


def _trials(optuna: Any, study: Any, plan: _Plan, count: int) -> Iterator[Any]:
    """The trials that are to be trained, first the one in which a sweep was stopped. What is drawn for a trial depends
    on the seed, its number and the trials before, however often the sweep was stopped."""

    def seed(number: int) -> None:
        study.sampler = optuna.samplers.TPESampler(seed=(plan.config["seed"] + number) % 2**32)

    for one in study.trials:
        if not one.state.is_finished():
            seed(one.number)
            yield optuna.trial.Trial(study, one._trial_id)
    while len(study.trials) < count:
        seed(len(study.trials))
        yield study.ask()


def _tell(optuna: Any, study: Any, plan: _Plan, trial: Any) -> None:
    """Trains a trial until it is complete or pruned, and tells the study."""
    values = {space.field: spaces.suggested(space, trial) for space in plan.spaces}
    place, states = _place(plan, trial.number), optuna.trial.TrialState
    reported = study.trials[trial.number].intermediate_values

    def pause(step: int, score: float) -> bool:
        if step not in reported and score == score:
            trial.report(score, step)
        return trial.should_prune()

    config = trials.without_test(spaces.put(plan.config, values), plan.validation, 0)
    config.data.train = plan.train
    try:
        trials.go_on(config, place, pause)
    except InputError as error:
        trial.set_user_attr("why", str(error))
        study.tell(trial.number, state=states.FAIL)
        return
    curve = trials.curve(place, plan.metric)
    best = max(plan.sign * value for value in curve.values)
    ended = any(one.get("event") == "phase_end" and one["phase"] == config.phases[-1].name for one in log.read(place))
    if not ended:
        study.tell(trial.number, state=states.PRUNED)
    else:
        study.tell(trial.number, best)


def _place(plan: _Plan, number: int) -> epath.Path:
    return plan.folder / f"trial_{number:04}"


def _trial(plan: _Plan, one: Any) -> Trial:
    curve = trials.curve(_place(plan, one.number), plan.metric)
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(one.state.name, "failed")
    best = max(curve.values, key=lambda value: plan.sign * value, default=None) if state != "failed" else None
    values = {}
    for space in plan.spaces:
        known = {repr(value): value for value in space.values} if space.kind == "choice" else {}
        given = one.params.get(space.field)
        values[space.field] = known.get(given, given)
    return Trial(one.number, values, state, best, max(curve.steps, default=0))


def _winner(plan: _Plan, best: Trial) -> Any:
    """The config of the best trial's run on all training examples, where a part was held out to choose by."""
    return trials.tested_at_ends(spaces.put(plan.config, best.values))


def _write(plan: _Plan, config: Any, best: Trial, done: Sequence[Trial]) -> None:
    told = f"The best of {len(done)} trials by {plan.metric} on {plan.validation!r}: trial {best.number}."
    config_text.write(plan.folder / WINNER, config, told)
    table = {"metric": plan.metric, "validation": plan.validation, "best": best.number}
    content = {**table, "trials": [one._asdict() for one in done]}
    whole_file.write(plan.folder / TABLE, json.dumps(content, indent=1).encode())


def _line(plan: _Plan, one: Trial) -> str:
    values = "  ".join(
        f"{field}={value:.4g}" if isinstance(value, float) else f"{field}={value}"
        for field, value in one.values.items()
    )
    said = "" if one.metric is None else f"  {plan.metric} {one.metric:.4f}"
    return f"trial {one.number}  {values}  {one.state} after {one.steps} steps{said}"
