"""One run, one folder: the run that writes into a folder holds `run.lock` there, and a second one is refused.

The lock is the kernel's (`flock`), which ends with its process, however that ends. For other machines, which may not
see it, and for buckets, which have none, the file says who holds it, and is touched every few seconds: what was not
touched for two minutes is of a run that is no more. Only the first of a run's processes holds it; readers of a folder
need none.
"""

import contextlib
import fcntl
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError

FILE = "run.lock"
BEAT, STALE = 15.0, 120.0  # seconds
_MOST = 4096  # bytes of the file


class Holder(NamedTuple):
    """Who holds a lock.

    Attributes:
      host: its name.
      pid: the number of the process.
      since: the date and time when it took the lock.
      boot: what tells the running of the machine since it was started from others; "" where that is not known.
      started: when the process began, in ticks since then; with the number it tells the process from others.
    """

    host: str
    pid: int
    since: str
    boot: str
    started: str


@contextlib.contextmanager
def hold(workdir: str | os.PathLike) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is not there, and removed again if nothing came into it.

    Every process of a run must enter and leave it; process 0 holds the lock.

    Raises:
      InputError: another run holds it, or the folder can't be written to; of each process.
    """
    refused, release = None, lambda: None
    if jax.process_index() == 0:
        try:
            release = _acquire(epath.Path(workdir))
        except InputError as error:
            refused = error
    if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.array(refused is not None)):
        refused = refused or InputError(f"{workdir} is refused to process 0, which says why")
    if refused is not None:
        raise refused
    try:
        yield
    finally:
        release()


def check(workdir: str | os.PathLike) -> None:
    """Refuses a folder that another run holds, without taking it; nothing is written.

    Raises:
      InputError: another run holds the lock.
    """
    path = epath.Path(workdir) / FILE
    if not whole_file.problem(path):
        holder = _parsed(whole_file.read(path, _MOST))
        if holder and _is_alive(holder, path):
            raise _refusal(path, holder)


def _acquire(folder: epath.Path) -> Callable[[], None]:
    """Takes the lock; returns what gives it back."""
    remote = "://" in os.fspath(folder)
    made = [] if remote else [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        give_back, beat = (_in_bucket if remote else _in_folder)(folder / FILE)
    except (OSError, ImportError) as error:
        raise InputError(
            f"{folder} cannot be made or written to: {getattr(error, 'strerror', None) or error}"
        ) from None
    stopped = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(beat, stopped), daemon=True)
    thread.start()

    def release() -> None:
        stopped.set()
        thread.join()
        with contextlib.suppress(OSError):
            give_back()
            for place in made:
                os.rmdir(place)  # fails, and ends this, at the first that is not empty

    return release


def _keep_beating(beat: Callable[[], object], stopped: threading.Event) -> None:
    while not stopped.wait(BEAT):
        with contextlib.suppress(OSError):
            beat()


def _in_folder(path: epath.Path) -> tuple[Callable[[], None], Callable[[], object]]:
    """Takes the lock in a folder; returns what gives it back, and what touches it."""
    handle, locked = _opened(path)
    try:
        holder = _parsed(os.pread(handle, _MOST, 0))
        if holder and not (locked and _is_here(holder)) and _is_alive(holder, path):
            raise _refusal(path, holder)
        content = json.dumps(_own()._asdict()).encode() + b"\n"
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)
    except BaseException:
        os.close(handle)
        raise

    def give_back() -> None:
        if _is_at(handle, path):
            path.unlink()
        os.close(handle)

    return give_back, lambda: os.utime(handle)


def _opened(path: epath.Path) -> tuple[int, bool]:
    """The open file, and whether the kernel has locked it; some file systems know no locks."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError(f"{path} is no regular file; remove it")
            locked = _is_locked(handle, path)
            if _is_at(handle, path):  # else who had it has removed it meanwhile
                return handle, locked
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_locked(handle: int, path: epath.Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refusal(path, _parsed(os.pread(handle, _MOST, 0))) from None
    except OSError:
        return False
    return True


def _is_at(handle: int, path: epath.Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    own = os.fstat(handle)
    return (own.st_ino, own.st_dev) == (there.st_ino, there.st_dev)


def _in_bucket(path: epath.Path) -> tuple[Callable[[], None], Callable[[], object]]:
    """The same as `_in_folder`, where nothing can be locked: of two that begin at once, the last to write has it."""
    content = json.dumps(_own()._asdict()) + "\n"
    holder = _parsed(path.read_bytes()) if path.exists() else None
    if holder and _is_alive(holder, path):
        raise _refusal(path, holder)
    path.write_text(content)
    if (holder := _parsed(path.read_bytes())) and json.dumps(holder._asdict()) + "\n" != content:
        raise _refusal(path, holder)
    return path.unlink, lambda: path.write_text(content)


def _parsed(content: bytes) -> Holder | None:
    """Who holds a lock; None where the file doesn't say, as when its process went down while it wrote."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (holder.host, holder.since, holder.boot, holder.started)
    return holder if type(holder.pid) is int and all(isinstance(text, str) for text in texts) else None


def _refusal(path: epath.Path, holder: Holder | None) -> InputError:
    who, there = "another process", path.parent
    if holder is not None:
        who = f"process {holder.pid} on {holder.host[:100]}, since {holder.since[:40]}"
    return InputError(
        f"{there} is in use by a run ({who}); wait until it ends, or take another workdir. If there is no such process "
        f"any more, remove {path}"
    )


def _own() -> Holder:
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return Holder(socket.gethostname(), os.getpid(), since, _boot(), _started(os.getpid()))


def _is_here(holder: Holder) -> bool:
    """Whether the holder is, or was, a process of this machine as it runs now."""
    return holder.boot == _boot() if holder.boot else holder.host == socket.gethostname()


def _is_alive(holder: Holder, path: epath.Path) -> bool:
    """Whether the process still runs: one of this machine is looked for, others must have touched the file."""
    if _is_here(holder) and holder.host == socket.gethostname():
        return _exists(holder.pid) and _started(holder.pid) == holder.started
    return time.time() - path.stat().mtime < STALE


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    return _text("/proc/sys/kernel/random/boot_id")


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine was started; "" where that is not known."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
