"""The loop, the only imperative place: data → step → metrics → checkpoint, phase after phase."""

import functools
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jtransfer import peft
from jtransfer.core import cluster, place, process_log, stopping
from jtransfer.core import tree as trees
from jtransfer.core.show import say
from jtransfer.models import forward
from jtransfer.runs import (
    assemble,
    build,
    changes,
    cost,
    disk,
    evaluation,
    feed,
    fingerprint,
    frozen,
    initialize,
    keeping,
    lessons,
    lock,
    log,
    norms,
    predictions,
    protocol,
    selection,
    summary,
    surveys,
    tracing,
)
from jtransfer.runs import folder as folders
from jtransfer.runs.batches import Ahead
from jtransfer.runs.build import Run
from jtransfer.runs.position import Position, position_of
from jtransfer.training import checkpoint, optim
from jtransfer.training.state import TrainState
from jtransfer.training.step_metrics import StepMetrics

Pause = Callable[[int, float], bool]


def run(
    config: Any, folder: str | os.PathLike, pause: Pause | None = None, profile: tracing.Steps | None = None
) -> dict[str, float]:
    """Trains by a config in a folder, going on from the folder's last checkpoint if there is one.

    Args:
      config: The config.
      folder: The run's folder.
      pause: Is asked with the step and the score that chooses the model, the larger, the better, whenever there is such
        a score. Where it returns True, the run is saved and the call returns; the same call again goes on from there.
      profile: The first and the last step of which a trace is written into the folder `profile` of the run's.

    Returns:
      The metrics of the last evaluation on the test split.

    Raises:
      InputError: the config, data, weights or folder are wrong (before training), the loss is not finite, or the folder
        can't be written to.
      Stopped: a signal has stopped the run, in a context that lets signals do so (`core.stopping`).
    """
    place.check_writable(folder)
    with disk.told(folder):
        lock.check(folder)
        fingerprint.check_kept(folder)
        prepared = build.prepare(folders.as_begun(folder, config), folder)
        tracing.check(profile, sum(phase.steps for phase in prepared.phases))
        changed = folders.check(folder, prepared.config, functools.partial(changes.judge, prepared))
        data = fingerprint.check(folder, prepared.streams)
        taught = lessons.check_begun(folder, prepared)
        with lock.hold(folder):
            lessons.keep(folder, taught)
            return _run(prepared, folder, data, changed, pause, profile)


def _run(
    prepared: Run, folder: Any, data: Mapping[str, Any], changed: list[str], pause: Pause | None, profile: Any
) -> dict[str, float]:
    last = checkpoint.resume(
        folder, functools.partial(_abstract, prepared), functools.partial(frozen.of_phase, prepared)
    )
    loaded = None if last else frozen.load(prepared)
    told = _told(folder) if loaded is None else initialize.counts(loaded[1], loaded[0])
    stopping.begin(folder, last and last.step)
    folders.claim(folder, prepared.config, prepared.target.class_names, prepared.inputs)
    process_log.begin()
    modality = prepared.target.modality
    if jax.process_index() == 0:
        modality.save(folder)
    fingerprint.keep(folder, data, [os.path.join(modality.folder, name) for name in modality.files])
    start = {"start_step": last.step, "start_phase": last.position["phase"]} if last else {}
    start |= {"trackers": prepared.config.trackers, "config": json.loads(prepared.config.to_json())}
    kept = {"every": prepared.config.checkpoint_every, "keep": keeping.of(prepared.config.keep)}
    with (
        disk.there(folder),
        log.Writer(folder, **start) as writer,
        cost.StepClock(tracing.Trace(folder, profile)) as clock,
        cluster.closing(checkpoint.open_checkpoints(folder, **kept, resumed_at=last and last.step)) as checkpoints,
    ):
        if last:
            state = last.state
            position = changes.reopened(prepared, position_of(folder, last.position), last.step)
            if changed:
                changes.write(prepared, writer, position, last.step, changed)
            writer.expect(_end(prepared, position, last.step))
            if jax.process_index() == 0:
                say(f"going on after step {last.step}, in phase {position.phase}")
            if last.remade:
                checkpoint.write_base(folder, position.phase, state.frozen, position.source)
            if position.done:
                state, position = selection.state(prepared, state, position)
        else:
            assert loaded is not None
            state, position = _begin(prepared, loaded[0], writer, told)
            loaded = None  # the state has what it needs of it
        scalars = None
        for number in range(position.number, len(prepared.phases)):
            if number > position.number:
                stopping.check()
                state, position = _enter(prepared, number, state, position, writer, told)
            if not position.done:
                state, position, scalars, paused = _train(prepared, state, position, writer, checkpoints, pause, clock)
                checkpoints.wait()
                stopping.saved(int(state.step))
                if paused:
                    return scalars
        scalars = scalars or evaluation.again(prepared, state)
        stopping.ended()
        return scalars


def _abstract(run: Run, saved: Mapping[str, Any]) -> TrainState:
    return assemble.abstract(run, Position(**saved).number)


def _told(folder: str | os.PathLike) -> dict[str, Any]:
    """What the run began with, by its log."""
    try:
        return next((line for line in log.read(folder) if line.get("event") == "init"), {})
    except (FileNotFoundError, ValueError):
        return {}


def _begin(run: Run, variables: dict, writer: log.Writer, told: Mapping[str, Any]) -> tuple[TrainState, Position]:
    writer.event(0, run.phases[0].name, "init", source=run.begins_with, **told)
    placed = jax.tree.map(lambda leaf: leaf.sharding, assemble.abstract(run, 0))
    begin = jax.jit(lambda v: assemble.begin(run, 0, v), out_shardings=placed)
    state = surveys.filled(run, begin(variables))
    if known := evaluation.before(feed.Feed(run).context(), state.variables()):
        writer.event(0, run.phases[0].name, "source", **known)
    return _started(run, 0, state, writer, told)


def _enter(
    run: Run, number: int, state: TrainState, position: Position, writer: log.Writer, told: Mapping[str, Any]
) -> tuple[TrainState, Position]:
    placed = jax.tree.map(lambda leaf: leaf.sharding, assemble.abstract(run, number))
    enter = jax.jit(lambda s: assemble.enter(run, number, s), out_shardings=placed)
    state, begun = _started(run, number, enter(state), writer, told)
    return state, begun._replace(selected=position.selected, selected_score=position.selected_score)


def _started(run: Run, number: int, state: TrainState, writer: log.Writer, told: Mapping[str, Any]):
    phase, step, state = run.phases[number], int(state.step), norms.estimated(run, number, state)
    whole = jax.eval_shape(peft.dequantize, state.variables())
    variables = {name: tree for name, tree in whole.items() if name in phase.trainable}
    rows = summary.table(variables, phase.trainable, forward.stages(run.model), run.begins_with, told)
    source = checkpoint.from_init(run.config.init, state.frozen, frozen.absent(run, number, told))
    base = checkpoint.write_base(run.folder, phase.name, state.frozen, source)
    if jax.process_index() == 0:
        lines = [*summary.notes(told), *summary.base(source)] if number == 0 else ()
        say("\n".join([summary.render(phase.name, rows), *lines]))
    position = Position(number, phase.name, step, base, source=source)
    writer.expect(_end(run, position, step))
    sizes = {
        "trainable": trees.count(state.trainable),
        "frozen": summary.frozen(jax.eval_shape(peft.dequantize, state.frozen)),
    }
    writer.event(step, phase.name, "phase_start", **sizes, table=rows)
    return state, position


def _end(run: Run, position: Position, step: int) -> int:
    """The last step of the run, if no further phase stops early."""
    rest = sum(phase.steps for phase in run.phases[position.number + 1 :])
    return rest + (step if position.done else position.start + run.phases[position.number].steps)


def _train(run: Run, state: TrainState, position: Position, writer: Any, checkpoints: Any, pause: Any, clock: Any):
    """Runs one phase to its end or a pause; returns the state that it ends with, the position, the last metrics on the
    test split and whether it is a pause."""
    config, phase = run.config, run.phases[position.number]
    began = time.monotonic() - position.seconds
    fed = feed.of_phase(run, phase, state)
    evaluators = evaluation.make(fed)
    train_step = fed.train_step(state.variables())
    rate = optim.schedule(phase.optim, phase.steps)
    step = int(state.step)
    end = position.start + phase.steps
    step_metrics, last_log, scalars = StepMetrics(phase.name, position.sums), (time.monotonic(), step), {}
    batches, chosen, paused = Ahead(fed.train_batches(step), run.mesh), None, False
    clock.restart()

    while not (position.done or paused):
        owed = position.owed or not phase.steps
        if not owed:
            stopping.working()
            (batch, there), step = clock.batch(batches), step + 1
            with clock.step(step):
                state, values = clock.started(train_step(state, there))
            if step < end:
                clock.ahead(batches)
            step_metrics.push(step, batch, values)
        since = step - position.start
        if not owed and (since % config.log_every == 0 or step == end):
            means = step_metrics.means()
            speed = (step - last_log[1]) * config.batch_size / max(time.monotonic() - last_log[0], 1e-9)
            rates = {"learning_rate": float(jax.device_get(rate(since - 1))), "examples_per_second": speed}
            writer.write(step, phase.name, "train", {**means, **rates, **clock.means()})
            last_log = (time.monotonic(), step)
        stops, score = stopping.reached(), None
        due = evaluation.due(evaluators, run, since, last=step == end)
        evaluated = since % evaluation.interval(run) == 0 or step == end
        position = position._replace(owed=stops and bool(due))
        if due and not stops:
            step_metrics.flush()
            try:
                found = _evaluate(run, evaluators, due, state, step, position, writer, checkpoints, last=step == end)
                position, score, told, chosen = found
                scalars = told or scalars
                stops = stopping.reached()
            except stopping.Stopped:
                stops, position = True, position._replace(owed=True)
            last_log = (time.monotonic(), step)
        if step == end and not position.owed:
            position = position._replace(done=True)
        forced = evaluated or score is not None or stops or owed
        if forced or checkpoints.should_save(step):
            disk.check(run.folder)
            position = position._replace(sums=step_metrics.held())
        position = position._replace(seconds=time.monotonic() - began)
        if position.done:  # before its checkpoint: a run that goes on from there finds the line
            spent = {"seconds": position.seconds, "steps": since, **cost.memory()}
            writer.event(step, phase.name, "phase_end", **spent, **scalars, protocol=protocol.of(run))
        rank = None if score is None or math.isnan(score) else score
        checkpoint.save(checkpoints, step, state, position._asdict(), score=rank, force=forced)
        if stops:
            checkpoints.wait()
            stopping.saved(step)
            raise stopping.stopped()
        paused = score is not None and pause is not None and pause(step, score)
    batches.close()
    return state if chosen is None else chosen, position, scalars, paused


def _evaluate(
    run: Run, evaluators, due, state: TrainState, step: int, position: Position, writer, checkpoints, *, last: bool
):
    """(position, score, metrics of the test split, state): the split that decides, by the run's protocol, tells when to
    stop, and with which state the phase ends; the test split is only looked at, at the end of a phase in that state."""
    variables, stop = state.variables(average=True), run.config.early_stop
    decides = evaluation.deciding(run)
    deciding = [one for one in due if one.split == decides]
    score, stopped = None, False
    outcomes = evaluation.ask(deciding, variables)
    if deciding:
        score = evaluation.score(run, outcomes[decides].scalars, last=last)
    if score is not None:
        better = selection.is_better(score, position.best)
        position = position._replace(best=score if better else position.best, stale=0 if better else position.stale + 1)
        if selection.is_better(score, position.selected_score, or_equal=True):
            position = position._replace(selected=step, selected_score=score)
        stopped = bool(stop.patience) and position.stale >= stop.patience and not last
    rest = [one for one in (evaluators if stopped else due) if one not in deciding]
    if last or stopped:
        checkpoints.wait()
        state, position = selection.state(run, state, position)
        variables = state.variables(average=True)
    others = evaluation.ask(rest, variables)  # the log has lines of a step's evaluations when all are done
    if last or stopped:
        selection.announce(run, writer, position.phase, step, position.selected, position.selected_score)
    for split, outcome in (*outcomes.items(), *others.items()):
        chosen = protocol.of(run) if last or stopped else protocol.UNSELECTED
        writer.write(step, position.phase, split, outcome.scalars, chosen if split == evaluation.TEST else "")
    if stopped:
        writer.event(step, position.phase, "early_stop", metric=evaluation.metric(run), best=position.best)
    tested = others.get(evaluation.TEST)
    if tested is not None:
        predictions.write(run.folder, tested.table)
    return position._replace(done=last or stopped), score, tested.scalars if tested is not None else {}, state
