"""The loop, the only imperative place: data → step → metrics → checkpoint, phase after phase."""

import os
import resource
import time
from typing import Any, NamedTuple

import jax

from jtransfer import data
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.runs import build as setup
from jtransfer.runs import feed, initialize, log, texts
from jtransfer.runs import folder as workdir
from jtransfer.runs.build import Run
from jtransfer.tasks import LESS_IS_BETTER
from jtransfer.training import checkpoint, optim
from jtransfer.training import step as steps
from jtransfer.training.state import TrainState
from jtransfer.training.step_metrics import Window


class Position(NamedTuple):
    """Where a run is; saved with every checkpoint."""

    number: int  # of the phase
    phase: str
    start: int  # the phase's first step
    base: str  # digest of what is frozen in the phase
    done: bool = False
    best: float | None = None  # the best score so far in the phase, for early stopping
    stale: int = 0  # evaluations since then
    seconds: float = 0.0  # spent in the phase


def run(config: Any, folder: str | os.PathLike) -> dict[str, float]:
    """Trains by a config in a folder, going on from the folder's last checkpoint if there is one.

    Returns:
      The metrics of the last evaluation on the test split.

    Raises:
      InputError: the config, data, weights or folder are wrong (before training), or the loss is not finite.
    """
    this = setup.prepare(config, folder)
    feed.check_metric(this)
    workdir.check(folder, this.config)
    found = checkpoint.latest_position(folder)
    loaded = None if found else _load(this)
    workdir.claim(folder, this.config, this.sources["train"].class_names)
    if this.tokenizer:
        texts.keep(this.tokenizer, folder)
    start = {"start_step": found[0], "start_phase": found[1]["phase"]} if found else {}
    with (
        log.Writer(folder, total_steps=sum(phase.steps for phase in this.phases), **start) as writer,
        checkpoint.open_checkpoints(folder, every=this.config.checkpoint_every) as checkpoints,
    ):
        if found:
            position = Position(**found[1])
            if jax.process_index() == 0:
                print(f"going on after step {found[0]}, in phase {position.phase}", flush=True)
            state = checkpoint.restore(folder, found[0], setup.abstract(this, position.number), found[1])
        else:
            state, position = _begin(this, *loaded, writer)
        scalars = None
        for number in range(position.number, len(this.phases)):
            if number > position.number:
                state, position = _enter(this, number, state, writer)
            if not position.done:
                state, position, scalars = _train(this, state, position, writer, checkpoints)
        checkpoints.wait()
        return scalars or _evaluate_again(this, state)


def _load(this: Run):
    config = this.config
    asked = {"reinit": config.reinit, "class_names": this.sources["train"].class_names, "seed": config.seed}
    return initialize.variables(config.init, this.model, this.mesh, config.sharding, **asked)


def _begin(this: Run, variables: dict, report: Any, writer: log.Writer) -> tuple[TrainState, Position]:
    writer.event(0, this.phases[0].name, "init", source=this.config.init, **initialize.counts(report))
    placed = jax.tree.map(lambda leaf: leaf.sharding, setup.abstract(this, 0))
    begin = jax.jit(lambda v: setup.begin(this, 0, v), out_shardings=placed)
    return _started(this, 0, begin(variables), writer, report)


def _enter(this: Run, number: int, state: TrainState, writer: log.Writer) -> tuple[TrainState, Position]:
    placed = jax.tree.map(lambda leaf: leaf.sharding, setup.abstract(this, number))
    enter = jax.jit(lambda s: setup.enter(this, number, s), out_shardings=placed)
    return _started(this, number, enter(state), writer, None)


def _started(this: Run, number: int, state: TrainState, writer: log.Writer, report: Any):
    phase, step = this.phases[number], int(state.step)
    rows = initialize.table(state.variables()["params"], phase.trainable, this.model.stages, this.config.init, report)
    if jax.process_index() == 0:
        print(initialize.render(phase.name, rows), flush=True)
    sizes = {"trainable": trees.count(state.trainable), "frozen": trees.count(state.frozen)}
    writer.event(step, phase.name, "phase_start", **sizes, table=rows)
    return state, Position(number, phase.name, step, checkpoint.write_base(this.folder, phase.name, state.frozen))


def _train(this: Run, state: TrainState, position: Position, writer: log.Writer, checkpoints: Any):
    """Runs one phase to its end; returns the state, the position and the last metrics on the test split."""
    config, phase = this.config, this.phases[position.number]
    began = time.monotonic() - position.seconds
    view = feed.of_phase(this, phase, state)
    evaluate = view.evaluator()
    train_step = _jitted_step(this, position.number, state, view.start)
    rate = optim.schedule(phase.optim, phase.steps)
    eval_every = config.eval_every or max(50, data.num_steps(len(this.sources["train"]), config.batch_size))
    step = int(state.step)
    end = position.start + phase.steps
    window, mark, scalars = Window(phase.name), (time.monotonic(), step), {}
    batches = view.train_batches(step)

    while not position.done:
        batch = next(batches)
        state, values = train_step(state, sharding.put_batch(batch, this.mesh))
        step += 1
        window.push(step, batch["index"], values)
        since = step - position.start
        if since % config.log_every == 0 or step == end:
            means = window.means()
            speed = (step - mark[1]) * config.batch_size / max(time.monotonic() - mark[0], 1e-9)
            rates = {"learning_rate": float(rate(since - 1)), "examples_per_second": speed}
            writer.write(step, phase.name, "train", {**means, **rates})
            mark = (time.monotonic(), step)
        score, evaluated = None, since % eval_every == 0 or step == end
        if evaluated:
            window.flush()
            position, score, scalars = _evaluate(this, evaluate, state, step, position, writer, last=step == end)
            mark = (time.monotonic(), step)
        if evaluated or checkpoints.should_save(step):
            window.flush()
        position = position._replace(seconds=time.monotonic() - began)
        if position.done:  # before its checkpoint: a run that goes on from there finds the line
            cost = {"seconds": position.seconds, "steps": since, **_memory()}
            writer.event(step, phase.name, "phase_end", **cost, **scalars)
        checkpoint.save(checkpoints, step, state, position._asdict(), score=score, force=evaluated)
    batches.close()
    return state, position, scalars


def _jitted_step(this: Run, number: int, state: TrainState, start: str | None):
    config, phase = this.config, this.phases[number]
    train_step = steps.make_train_step(
        this.model,
        setup.optimizer(this, number, state.variables()["params"]),
        setup.objective(this),
        trainable=phase.trainable,
        preprocess=feed.preprocess(this.transforms["train"], this.model.dtype),
        accuracy=this.task.accuracy,
        mix=setup.mixer(config, this.model.num_classes),
        start=start,
        accumulate=phase.optim["accumulate"],
        ema=config.optim.ema,
    )
    return jax.jit(train_step, donate_argnums=0)


def _evaluate(this: Run, evaluate, state: TrainState, step: int, position: Position, writer, *, last: bool):
    """(position, score, metrics): the validation split decides when to stop; the test split is only looked at."""
    score, scalars, stop = None, {}, this.config.early_stop
    if "validation" in this.sources:
        scalars, _ = evaluate(state, "validation")
        writer.write(step, position.phase, "validation", scalars)
        metric = stop.metric or this.task.metric
        score = scalars[metric] * (-1 if metric in LESS_IS_BETTER else 1)
        better = position.best is None or score > position.best
        position = position._replace(best=score if better else position.best, stale=0 if better else position.stale + 1)
        if stop.patience and position.stale >= stop.patience and not last:
            writer.event(step, position.phase, "early_stop", metric=metric, best=position.best)
            last = True
    if last or "validation" not in this.sources:
        scalars, predictions = evaluate(state, "test")
        writer.write(step, position.phase, "test", scalars)
        workdir.write_predictions(this.folder, predictions)
    return position._replace(done=last), score, scalars


def _evaluate_again(this: Run, state: TrainState) -> dict[str, float]:
    """The test metrics of a run that had ended before."""
    scalars, predictions = feed.images(this).evaluator()(state, "test")
    workdir.write_predictions(this.folder, predictions)
    return scalars


def _memory() -> dict[str, float]:
    """Peak resident memory of this process and, where the device tells, of the first device; MiB."""
    found = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device_memory_mb"] = stats["peak_bytes_in_use"] / 2**20
    return found
