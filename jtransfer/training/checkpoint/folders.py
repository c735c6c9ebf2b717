"""Where a run's checkpoints lie, and which of them are complete.

    checkpoints/<step>                       a complete one
    checkpoints/<step>.replaced              one of the same step, until the one that replaces it is complete
    checkpoints/<step>.damaged               one that could not be read, set aside and never deleted
    checkpoints/<step>.removed               one that is being deleted
    checkpoints/<step>.new                   one that is written, and may not yet be on the disk
    checkpoints/<step>.new.orbax-checkpoint-tmp  one that is being written

A folder gets and loses its name at once, so that whoever reads sees a whole one or none. A bucket can't rename: there a
file is written last, and another one deleted first.
"""

import contextlib
import itertools
import os
import re

from etils import epath

from jtransfer.core.errors import InputError

METADATA = "_CHECKPOINT_METADATA"  # deleted first
_COMMITTED = "commit_success.txt"  # written last
_REPLACED, _DAMAGED, _REMOVED, _NEW, _WRITING = ".replaced", ".damaged", ".removed", ".new", ".orbax-checkpoint-tmp"
_STEP = re.compile(r"0|[1-9][0-9]{0,8}")
_PHASE = re.compile(r"\w[\w.-]*")


def root(workdir: str | os.PathLike) -> epath.Path:
    """Returns the folder of a run's checkpoints."""
    return _absolute(workdir) / "checkpoints"


def unnamed(workdir: str | os.PathLike, step: int) -> epath.Path:
    """Returns the folder of a checkpoint of a step before it has its name."""
    return root(workdir) / f"{step}{_NEW}"


def existing(workdir: str | os.PathLike) -> epath.Path:
    """Returns the folder of a run's checkpoints. Raises `InputError` if there is none."""
    found = root(workdir)
    if not found.is_dir():
        raise InputError(f"{workdir} holds no run: {found} does not exist")
    return found


def base(workdir: str | os.PathLike, phase: str) -> epath.Path:
    """Returns the folder of what is frozen in a phase. Raises `ValueError` for what can be no phase's name."""
    if not isinstance(phase, str) or not _PHASE.fullmatch(phase):
        raise ValueError(f"a phase can't be called {str(phase)[:40]!r}")
    return _absolute(workdir) / "base" / phase


def complete(workdir: str | os.PathLike) -> dict[int, epath.Path]:
    """Returns step → folder of all checkpoints that are complete, the earliest first.

    Raises:
      InputError: what should be their folder is none.
    """
    found = {}
    if root(workdir).exists() and not root(workdir).is_dir():
        raise InputError(f"{root(workdir)} is no folder")
    for name, path in _named(workdir).items():
        step, replaced, rest = name.partition(_REPLACED)
        if _STEP.fullmatch(step) and not rest and (not is_remote(workdir) or (path / _COMMITTED).exists()):
            found[int(step)] = found.get(int(step), path) if replaced else path
    return dict(sorted(found.items()))


def set_aside_before(workdir: str | os.PathLike) -> list[str]:
    """Returns the names of the checkpoints that were set aside as damaged."""
    return sorted(name for name in _named(workdir) if _DAMAGED in name)


def is_remote(workdir: str | os.PathLike) -> bool:
    """Returns whether a folder lies in a bucket."""
    return "://" in os.fspath(workdir)


def set_aside(path: epath.Path) -> epath.Path:
    """Gives a damaged folder another name, under which it stays; returns it."""
    names = (path.with_name(f"{path.name}{_DAMAGED}{f'.{n}' if n else ''}") for n in itertools.count())
    free = next(name for name in names if not name.exists())
    path.rename(free)
    return free


def remove(path: epath.Path) -> None:
    """Deletes a checkpoint, which is gone at once for whoever looks."""
    if is_remote(path):
        (path / METADATA).unlink(missing_ok=True)
        path.rmtree()
    else:
        leaving = path.with_name(path.name + _REMOVED)
        if leaving.exists():
            leaving.rmtree()
        path.rename(leaving)
        leaving.rmtree()


def make_room(workdir: str | os.PathLike, step: int) -> None:
    """Renames the checkpoint of a step; it counts until there is a new one of the step."""
    path = root(workdir) / str(step)
    if not path.exists():
        return
    if is_remote(workdir):
        return remove(path)
    older = path.with_name(path.name + _REPLACED)
    if older.exists():
        remove(older)
    path.rename(older)


def tidy(workdir: str | os.PathLike) -> None:
    """Ends what a run that was killed had begun: of writing, replacing and deleting. Only the run itself may do so."""
    for name, path in _named(workdir).items():
        if _WRITING in name or name.endswith((_REMOVED, _NEW)):
            path.rmtree()
        elif name.endswith(_REPLACED):
            new = path.with_name(name.removesuffix(_REPLACED))
            remove(path) if new.exists() else path.rename(new)
        elif is_remote(workdir) and _STEP.fullmatch(name) and not (path / _COMMITTED).exists():
            path.rmtree()


def drop_replaced(workdir: str | os.PathLike, step: int) -> None:
    """Deletes the former checkpoint of a step of which there is a new one."""
    older = root(workdir) / f"{step}{_REPLACED}"
    if older.exists():
        remove(older)


def _named(workdir: str | os.PathLike) -> dict[str, epath.Path]:
    with contextlib.suppress(FileNotFoundError):
        return {path.name: path for path in root(workdir).iterdir()}
    return {}


def _absolute(workdir: str | os.PathLike) -> epath.Path:
    path = epath.Path(workdir)
    return path if is_remote(workdir) else path.absolute()
