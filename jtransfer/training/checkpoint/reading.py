"""The variables of a run from its checkpoints, checked: as host arrays, or as lazy tensors of which parts are read."""

import contextlib
import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer.core import tree as trees
from jtransfer.training.checkpoint import arrays, base, statement
from jtransfer.training.checkpoint.choosing import attempt
from jtransfer.training.checkpoint.damage import Damaged, found_in, together
from jtransfer.training.checkpoint.statement import Found, Stated
from jtransfer.weights import formats


def load_params(workdir: str | os.PathLike, step: int | str | None = None, *, average: bool = True) -> dict:
    """Returns the variables of a run, `{"params": …, "batch_stats": …}` of host arrays, merged with its frozen part.

    A run that is going on may be read at any time. Where a checkpoint that "best" or "last" stands for is damaged, the
    next one that is whole is read, and a line on standard error says so.

    Args:
      workdir: a run's folder.
      step: a step that was kept, "best" (the largest score; the last where none has one), or "last" or None.
      average: take the moving average where the run kept one.

    Raises:
      InputError: there is no such folder, checkpoint or step, or it is damaged.
    """
    return load(workdir, step, average=average)[1]


def load(workdir: str | os.PathLike, step: int | str | None = None, *, average: bool = True) -> tuple[int, dict]:
    """Returns the step that was read, and the variables. Arguments and errors as for `load_params`."""

    def read(found: Found) -> tuple[int, dict]:
        stated = statement.read(found)
        with found_in(found.path):
            saved = opened(found, stated, "state")
            chosen = _variables(saved, average=average)
            flat = arrays.on_host({path: saved[path] for path in chosen.values()})
            arrays.check(flat, stated.digests)
            _check_there(found)
        with _advised():
            still = base.on_host(workdir, stated.position)
        return found.step, trees.unflatten({name: flat[path] for name, path in chosen.items()} | still)

    return attempt(workdir, step, read)


def lazy_params(workdir: str | os.PathLike, step: int | str | None = None) -> dict[str, formats.Lazy]:
    """Returns the variables of a run by their paths, as lazy tensors of which parts can be read.

    They are the moving average, where the run kept one, merged with the frozen part. All of them are read once, each
    process a share, to check that they are what was saved. With several JAX processes, each must call this function.

    Args:
      workdir: a run's folder.
      step: as for `load_params`.

    Raises:
      InputError: there is no such folder, checkpoint or step, or it is damaged.
    """
    return attempt(workdir, step, lambda found: tensors(workdir, found), everywhere=True)


def tensors(workdir: str | os.PathLike, found: Found) -> dict[str, formats.Lazy]:
    """Returns what `lazy_params` does, of a checkpoint that `attempt` chose; reading a tensor may raise `Damaged`."""

    def read() -> tuple[Stated, dict[str, formats.Lazy], dict[str, formats.Lazy]]:
        stated = statement.read(found)
        with found_in(found.path):
            saved = opened(found, stated, "state")
        with _advised():
            return stated, saved, base.opened(workdir, stated.position)

    stated, saved, frozen = together(read)
    chosen = _variables(saved, average=True)
    with found_in(found.path):
        arrays.check({path: saved[path] for path in chosen.values()}, stated.digests)
    with _advised():
        base.check(workdir, stated.position, frozen)
    return {name: _watched(found, saved[path]) for name, path in chosen.items()} | {
        name: _watched(found, tensor) for name, tensor in frozen.items()
    }


def opened(found: Found, stated: Stated, part: str, most: int | None = None) -> dict[str, formats.Lazy]:
    """Returns the lazy tensors of a part of a checkpoint, "state" or "optimizer", by their paths such as `state/step`.

    Raises:
      ValueError: there are more or fewer than the checkpoint states.
    """
    saved = {f"{part}/{path}": tensor for path, tensor in formats.open_own(found.path / part, most).items()}
    if stated.digests is not None:
        expected = {path for path in stated.digests if path.startswith(f"{part}/")}
        if odd := sorted(expected ^ saved.keys()):
            raise ValueError(f"{odd[0]} is {'missing' if odd[0] in expected else 'none of what was saved'}")
    return saved


def _variables(saved: Mapping[str, formats.Lazy], *, average: bool) -> dict[str, str]:
    """The path of each variable → that of its array in the state."""
    groups = defaultdict(dict)
    for path in saved:
        _, group, *rest = path.split("/", 2)
        groups[group]["/".join(rest)] = path
    return ((average and groups["ema"]) or groups["trainable"]) | groups["model_state"]


@contextlib.contextmanager
def _advised() -> Iterator[None]:
    """Adds to what is damaged of the frozen part what mends it."""
    try:
        yield
    except Damaged as error:
        raise Damaged(f"{error}; start the run again: it makes it anew from its init, if it can") from error


def _check_there(found: Found) -> None:
    if not found.is_still_there():
        raise ValueError("it was deleted while it was read")


def _watched(found: Found, tensor: formats.Lazy) -> formats.Lazy:
    """The tensor, whose reading raises `Damaged` where the checkpoint is gone by then."""

    def guarded(read: Callable[..., np.ndarray], *index: Any) -> np.ndarray:
        with found_in(found.path):
            value = read(*index)
            _check_there(found)  # of what is gone, TensorStore may have given zeros
            return value

    window = tensor.window and functools.partial(guarded, tensor.window)
    return dataclasses.replace(tensor, fetch=functools.partial(guarded, tensor.fetch), window=window)
