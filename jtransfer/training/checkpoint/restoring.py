"""The state that a run goes on from: that of a step, or of the last whole checkpoint, read into its shardings."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.training.checkpoint import arrays, base, choosing, folders, statement
from jtransfer.training.checkpoint.damage import Damaged, found_in, together
from jtransfer.training.checkpoint.parts import named, parts
from jtransfer.training.checkpoint.reading import opened
from jtransfer.training.checkpoint.statement import Found, Stated
from jtransfer.training.state import TrainState


class Resumed(NamedTuple):
    """Where a run goes on.

    Attributes:
      step: of the checkpoint.
      position: what was saved with it.
      state: of the step.
      remade: whether what is frozen was damaged on disk, and was made again.
    """

    step: int
    position: dict[str, Any]
    state: TrainState
    remade: bool


def restore(
    workdir: str | os.PathLike,
    step: int,
    like: TrainState,
    position: Mapping,
    *,
    frozen: dict | None = None,
    remake: Callable[[Mapping[str, Any]], dict] | None = None,
) -> TrainState:
    """Returns the state of a step, each array straight into its sharding, if it is what was saved.

    Args:
      workdir: the run's folder.
      step: the step.
      like: the state of the phase with `jax.ShapeDtypeStruct` leaves that have a sharding.
      position: what was saved with the step.
      frozen: what is frozen in the phase, where it is at hand; otherwise it is read.
      remake: as for `resume`.

    Raises:
      InputError: the checkpoint or the frozen part is damaged, or a leaf does not fit.
    """

    def read(found: Found) -> TrainState:
        state = _changing(found, lambda _: like)[1]
        made = _made(remake, position)
        return state.replace(
            frozen=base.restore_base(workdir, position, like.frozen, made) if frozen is None else frozen
        )

    return choosing.attempt(workdir, step, read, everywhere=True)


def resume(
    workdir: str | os.PathLike,
    like: Callable[[Mapping[str, Any]], TrainState],
    remake: Callable[[Mapping[str, Any]], dict] | None = None,
) -> Resumed | None:
    """Returns the state of the last checkpoint that is whole; None if the folder has no checkpoint. It writes nothing.

    Each process must call it. No process returns before all have looked: what the first goes on to write can't be taken
    for an older run's. What is passed over is told in a line on standard error.

    Args:
      workdir: the run's folder.
      like: of a position, the state of its phase, as `restore` takes it.
      remake: of a position, what is frozen in its phase, made as the run made it, for where it is damaged or was not
        written.

    Raises:
      InputError: there are checkpoints, and none of them is whole.
    """

    def read(found: Found) -> Resumed:
        stated, state = _changing(found, lambda stated: like(stated.position))
        frozen, remade = _frozen(workdir, stated.position, state.frozen, remake)
        return Resumed(found.step, stated.position, state.replace(frozen=frozen), remade)

    there = folders.complete(workdir) or folders.set_aside_before(workdir)
    found = choosing.attempt(workdir, "last", read, everywhere=True) if there else None
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("resume")
    return found


def _changing(found: Found, like: Callable[[Stated], TrainState]) -> tuple[Stated, TrainState]:
    """What a checkpoint states, and its state with the frozen part of `like`; collective."""

    def read() -> tuple[Stated, TrainState, dict[str, jax.Array]]:
        stated = statement.read(found)
        if stated.digests and "state/step" not in stated.digests:
            raise InputError(
                f"{found.path.parent.parent} holds a model that was not trained there, such as a fused one; take "
                "another workdir, with this one as init"
            )
        with found_in(found.path):
            wanted = like(stated)
            flat = {}
            for part, tree in parts(wanted).items():
                shapes = trees.flatten({part: tree})
                flat |= arrays.placed(opened(found, stated, part, trees.nbytes(tree)), shapes)
        return stated, wanted, flat

    stated, wanted, flat = together(read)
    with found_in(found.path):
        arrays.check(flat, stated.digests)
    return stated, named(wanted, flat)


def _frozen(
    workdir: str | os.PathLike,
    position: Mapping[str, Any],
    like: dict,
    remake: Callable[[Mapping[str, Any]], dict] | None,
) -> tuple[dict, bool]:
    """What is frozen, and whether it had to be made again, which only gives what it was if it was never trained."""
    try:
        return base.restore_base(workdir, position, like, _made(remake, position)), False
    except Damaged as error:
        if remake is None:
            raise
        try:
            frozen = remake(position)
            base.check(workdir, position, trees.flatten(frozen))
        except InputError:
            raise error from None
        if jax.process_index() == 0:
            say(f"{error}; it is made again from the run's init", file=sys.stderr)
        return frozen, True


def _made(remake: Callable[[Mapping[str, Any]], dict] | None, position: Mapping[str, Any]) -> base.Remake | None:
    return remake and (lambda: trees.flatten(remake(position)))
