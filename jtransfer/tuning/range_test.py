"""The learning rate range test (Smith 2017, arXiv:1506.01186): the loss while the rate rises from step to step."""

import functools
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from jtransfer.core import sharding, whole_file
from jtransfer.core.errors import InputError
from jtransfer.models.fitted import estimator_of
from jtransfer.runs import assemble, build, feed, frozen, lock, norms, surveys
from jtransfer.runs import config as configs
from jtransfer.runs import folder as folders
from jtransfer.runs.position import Position, position_of
from jtransfer.training import checkpoint

LOW, HIGH, STEPS = 1e-6, 10.0, 100
_SMOOTHED, _EXPLODED = 0.9, 4.0  # of the mean that goes along; times its least value, where the test ends
FILE = "range_test"


class RangeTest(NamedTuple):
    """What a range test has found.

    Attributes:
      rates: float64 [n], ascending.
      losses: float64 [n], the training loss of the step with each rate, before its update.
      smoothed: float64 [n], a mean of the losses so far, the later ones more.
      rate: Where the smoothed loss falls most steeply; None where it never falls.
      least: Where it is least, which is too much for a training.
      lines: What there is to say.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    rate: float | None
    least: float
    lines: list[str]


def of_config(config: Any, folder: str | os.PathLike, steps: int = STEPS) -> RangeTest:
    """Returns the range test of a config's first phase or, if its run is in the folder, of the phase in which that is.

    The run is not changed: it goes on to the same bits as without the test. The curve is written as `folder`/auto/
    range_test.svg, and its numbers as range_test.json.

    Args:
      config: The config. Of its rate and schedule nothing is used.
      folder: The run's folder, or a new one.
      steps: The most steps that are made.

    Raises:
      InputError: The config or the folder is wrong, a process is training there, or the head is fitted, not trained.
    """
    full = configs.fill(config)
    if full["phases"] == configs.AUTO:
        raise InputError("a range test is of one phase, and config.phases='auto' names none; give a list of phases")
    lock.check(folder)
    run = build.prepare(folders.as_begun(folder, config), folder)
    folders.check(folder, run.config)
    if estimator_of(run.model):
        raise InputError(f"{run.config.model.name} is fitted at once, and has no learning rate")
    state, position = _where(run, folder)
    since = int(state.step) - position.start
    rates = np.geomspace(LOW, HIGH, steps)
    run = _with_schedule(run, position.number, lambda count: LOW * (HIGH / LOW) ** ((count - since) / (steps - 1)))
    fed = feed.of_phase(run, run.phases[position.number], state)
    batches = fed.train_batches(int(state.step))
    losses = np.array(list(_losses(fed.train_step(state.variables()), state, batches, run.mesh, steps)))
    batches.close()
    found = read(rates[: len(losses)], losses)
    _write(epath.Path(folder) / folders.AUTO, found)
    return found


def read(rates: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray) -> RangeTest:
    """Returns what the losses at rising rates say.

    Args:
      rates: [n], ascending.
      losses: [n]; the last may be infinite, or no number.
    """
    smoothed = np.array(list(_smooth(losses)))
    known = np.isfinite(smoothed)
    if known.sum() < 3:
        raise InputError("the loss is not finite at the smallest rates; look at the data and the model first")
    last = int(np.argmin(np.where(known, smoothed, np.inf)))
    slopes = np.gradient(smoothed[: last + 1], np.log(rates[: last + 1])) if last else np.zeros(1)
    steepest = int(np.argmin(slopes))
    rate = float(rates[steepest]) if slopes[steepest] < 0 else None
    least = float(rates[last])
    told = (
        f"propose optim.lr={rate:.2g}, where the loss falls most steeply; it is least at {least:.2g}, and a tenth of "
        f"that is {least / 10:.2g}"
        if rate is not None
        else "the loss falls at no rate; nothing is proposed"
    )
    end = f"{len(losses)} steps, from {rates[0]:.2g} to {rates[-1]:.2g}"
    exploded = not known[-1] or _explodes(smoothed[-1], smoothed[:-1])
    ended = f"{end}, where the loss exploded" if exploded else end
    return RangeTest(np.array(rates), np.array(losses), smoothed, rate, least, [ended, told])


def _smooth(losses: Sequence[float] | np.ndarray) -> Iterator[float]:
    mean = 0.0
    for count, loss in enumerate(losses, 1):
        mean = _SMOOTHED * mean + (1 - _SMOOTHED) * float(loss)
        yield mean / (1 - _SMOOTHED**count)


def _explodes(value: float, before: np.ndarray) -> bool:
    return not math.isfinite(value) or (bool(len(before)) and value > _EXPLODED * max(float(before.min()), 1e-12))


def _losses(step: Callable, state: Any, batches: Iterator, mesh: Any, steps: int) -> Iterator[float]:
    """The loss of each step, until it explodes. The state is used up; nothing else is changed."""
    found: list[float] = []
    for _ in range(steps):
        state, values = step(state, sharding.put_batch(next(batches), mesh))
        found.append(float(jax.device_get(values["loss"])))
        yield found[-1]
        smoothed = np.array(list(_smooth(found)))
        if _explodes(smoothed[-1], smoothed[:-1]):
            return


def _where(run: Any, folder: str | os.PathLike) -> tuple[Any, Position]:
    """The state that the run in the folder has, or that a run would begin with, and where that is."""
    abstract = functools.partial(_abstract, run)
    last = checkpoint.resume(folder, abstract, functools.partial(frozen.of_phase, run))
    if last is not None:
        return last.state, position_of(folder, last.position)
    placed = jax.tree.map(lambda leaf: leaf.sharding, assemble.abstract(run, 0))
    begin = jax.jit(lambda variables: assemble.begin(run, 0, variables), out_shardings=placed)
    state = norms.estimated(run, 0, surveys.filled(run, begin(frozen.load(run)[0])))
    return state, Position(0, run.phases[0].name, 0, "")


def _abstract(run: Any, saved: Any) -> Any:
    return assemble.abstract(run, Position(**saved).number)


def _with_schedule(run: Any, number: int, schedule: Callable) -> Any:
    phases = list(run.phases)
    phases[number] = phases[number]._replace(optim={**phases[number].optim, "schedule": schedule})
    return run._replace(phases=phases)


def _write(place: epath.Path, found: RangeTest) -> None:
    place.mkdir(parents=True, exist_ok=True)
    numbers = {
        name: [None if x != x or abs(x) == math.inf else x for x in getattr(found, name).tolist()]
        for name in ("rates", "losses", "smoothed")
    }
    whole_file.write(place / f"{FILE}.json", json.dumps({**numbers, "rate": found.rate, "least": found.least}).encode())
    whole_file.write(place / f"{FILE}.svg", _figure(found))
    found.lines.append(f"the curve: {place / FILE}.svg")


def _figure(found: RangeTest) -> bytes:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 3.5), layout="constrained")
    axis = drawn.subplots()
    axis.plot(found.rates, found.losses, color="0.75", label="loss of each step")
    axis.plot(found.rates, found.smoothed, label="smoothed")
    if found.rate is not None:
        axis.axvline(found.rate, color="C2", linestyle="--", label=f"proposed: {found.rate:.2g}")
    finite = found.smoothed[np.isfinite(found.smoothed)]
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axis.set_ylim(0, 1.5 * max(float(finite[:10].max()), 1e-12))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.legend()
    file = io.BytesIO()
    drawn.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
