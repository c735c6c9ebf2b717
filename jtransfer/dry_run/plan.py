"""What a run needs of each device, phase by phase, and whether it fits."""

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.dry_run import measure, options, rows, shapes, text, topology
from jtransfer.dry_run.collectives import Traffic
from jtransfer.layers.cpu import dispatch
from jtransfer.models.fitted import estimator_of
from jtransfer.runs import assemble, build, protocol
from jtransfer.runs import config as configs

GIB = topology.GIB
Run = Any  # build.Run


class PhasePlan(NamedTuple):
    """What a phase needs; bytes are those of one device.

    Attributes:
      name: Of the phase.
      steps: How many it has.
      rows: What its state holds, group by group.
      state: The bytes of its state.
      step: The memory of a training step, the state included.
      moments: What is going on → the bytes that it takes in all: "training step", with the batch of the next
        one beside it, "evaluation", "beginning", which is
        when a state is made of what was there before, and "features", where the frozen prefix is computed once.
      flops: Of a training step, over all devices.
      traffic: Kind of collective operation → how often it is run in a training step, and its bytes.
      seconds: The time of a step, where it was run.
    """

    name: str
    steps: int
    rows: list[rows.Row]
    state: int
    step: measure.Memory
    moments: Mapping[str, int]
    flops: float
    traffic: Mapping[str, Traffic]
    seconds: float | None = None

    @property
    def peak(self) -> int:
        """The bytes of the moment that takes most."""
        return max(self.moments.values())


class Plan(NamedTuple):
    """What a run needs.

    Attributes:
      devices: What they are called.
      mesh: Axis → its size.
      limit: The bytes that a device has; None where that is not known.
      phases: In order.
      options: What was tried to make it fit; nothing where it does.
      notes: Lines on what is not exact.
    """

    devices: str
    mesh: Mapping[str, int]
    limit: float | None
    phases: list[PhasePlan]
    options: list[options.Option]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether every phase fits; None where it is not known what a device has."""
        return None if self.limit is None else all(phase.peak <= self.limit for phase in self.phases)


def plan(
    config: Any,
    *,
    hbm_gb: float | None = None,
    topology: str = "",
    timed: bool = False,
    tell: Callable[[str], Any] = lambda line: None,
) -> Plan:
    """Returns what a run of a config needs, by its shapes: the programs are compiled, and nothing else is made.

    Nothing is written, and of the data only the first examples are read. What is counted is the memory of a device:
    the state, a batch, and what the compiler says that the steps take in between; not that of the host, which decodes
    data, compiles and writes checkpoints.

    Args:
      config: The config.
      hbm_gb: The memory of a device in GiB; by default what the device says, or a device of that kind has.
      topology: The devices: "" are those that are here; "v5e-16", "v5e:4x4" and others of TPUs need libtpu, and no
        TPU; "cpu:8"; "h100:8" and others of GPUs need `jax[cuda12]`, and no GPU; without that they are estimated by
        what CPUs would need.
      timed: Runs some steps, and tells their time; that allocates what the run needs.
      tell: Is given what there is to say, line by line, as it is known.

    Raises:
      InputError: The config is wrong, as for `train.run`, or there is no such topology.
    """
    config, there = configs.complete(config), _devices(topology, hbm_gb)
    if timed and topology and not topology.startswith("cpu"):
        raise InputError(f"the time of a step on {there.name} is known by running it there; leave step_time out")
    with _quiet(there):
        run = build.prepare(config, _nowhere(), there.devices)
        if estimator_of(run.model):
            raise InputError("the model is fitted by scikit-learn on the host, in one step; there is nothing to plan")
        notes = (*there.notes, *_notes(run))
        tell(text.head(there, run))
        phases = []
        for number in range(len(run.phases)):
            phases.append(_phase(run, number, timed=timed))
            tell(text.phase(phases[-1], there.limit))
        for note in notes:
            tell(f"? {note}")
        made = Plan(there.name, dict(run.mesh.shape), there.limit, phases, [], notes)
        tell(text.verdict(made))
        tried = []
        if there.limit is not None and not made.fits:
            large = [number for number, one in enumerate(phases) if one.peak > there.limit]
            again = functools.partial(_peak, devices=there.devices, numbers=large)
            for option in options.of(config, run, [phases[number] for number in large], large, there.limit, again):
                tried.append(option)
                tell(text.option(option, there.limit))
            tell(text.advice(tried))
    return made._replace(options=tried)


def _devices(name: str, hbm_gb: float | None) -> topology.Devices:
    if hbm_gb is not None and not 0 < hbm_gb < 1e6:
        raise InputError(f"hbm_gb={hbm_gb:g}: give the memory of a device in GiB, as 16")
    there = topology.of(name)
    return there if hbm_gb is None else there._replace(limit=hbm_gb * GIB)


@contextlib.contextmanager
def _quiet(there: topology.Devices) -> Iterator[None]:
    """A context in which models are traced for the devices, and no compiled program is read or written."""
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with dispatch.platform(there.platform, there.capability):
            yield
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


def _nowhere() -> str:
    """The name of a folder that is not there."""
    return f"runs/dry-run-{uuid.uuid4().hex}"


def _notes(run: Run) -> list[str]:
    terms = [name for name, term in assemble.objective(run).terms.items() if term.teachers]
    notes = [f"{', '.join(terms)}: what teachers take is not counted"] if terms else []
    if run.target.task.generates and run.config.generate.num_examples:
        notes.append("what generation takes in an evaluation is not counted")
    return notes


def _phase(run: Run, number: int, *, timed: bool = False) -> PhasePlan:
    phase, state = run.phases[number], assemble.abstract(run, number)
    fed, held = shapes.feed_of(run, phase), shapes.per_device(state)
    train_step = fed.train_step(state.variables(), shapes.without_teachers(run))
    given = list(shapes.batches_of(run, number, state))
    found = [measure.compiled(train_step, state, batch) for batch in given]
    most = max(range(len(found)), key=lambda i: found[i].memory.total)
    step = found[most]
    before = shapes.variables(run) if number == 0 else assemble.abstract(run, number - 1)
    ahead = shapes.per_device(given[most])  # the batch of the next step is on the devices, too
    moments = {"training step": step.memory.total + ahead, "beginning": held + shapes.per_device(before)}
    moments["evaluation"] = _beside(held, shapes.eval_step(run, phase), state, shapes.evaluated(run, number, state))
    if phase.cache:
        moments["features"] = _beside(held, *_arguments(shapes.extraction(run, phase, state), state))
    if protocol.of(run) != protocol.LAST:
        moments["reading the best checkpoint"] = 2 * held - shapes.per_device(state.frozen)
    seconds = measure.seconds(step.run, *_made(run, number, given[most])) if timed and step.run else None
    table = rows.of_state(state)
    return PhasePlan(phase.name, phase.steps, table, held, step.memory, moments, step.flops, step.traffic, seconds)


def _arguments(extraction: tuple[Any, Any], state: Any) -> tuple[Any, Any, Any]:
    program, batch = extraction
    return program, state, batch


def _beside(held: int, program: Any, state: Any, batch: Any) -> int:
    """The bytes of a program over variables of a state, which is held beside its batch."""
    memory = measure.compiled(program, state.variables(average=True), batch).memory
    return held + shapes.per_device(batch) + memory.total - memory.arguments


def _made(run: Run, number: int, batch: Any) -> tuple[Any, Any]:
    """A state of variables that are drawn, and a batch of zeros, of which every example counts."""
    placed = jax.tree.map(lambda leaf: leaf.sharding, assemble.abstract(run, number))
    begin = jax.jit(lambda: assemble.begin(run, number, assemble.initial_variables(run)), out_shardings=placed)
    zeros = jax.tree.map(lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), batch)
    return begin(), zeros


def _peak(config: Any, devices: Any, numbers: list[int]) -> int:
    """What the phases of those numbers take of a device with another config."""
    run = build.prepare(config, _nowhere(), devices)
    return max(_phase(run, number).peak for number in numbers)
