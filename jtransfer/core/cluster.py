"""The processes of a cluster: one that fails says so to the others, which end with its reason and do not wait for it.

A collective operation waits for ever for a process that is gone. So a thread of each process looks twice a second at
the key-value store of JAX's coordination service, and ends its process at once when another one has failed. A process
that was killed says nothing: that it is gone is known by its heartbeats, or as it held the service, after which JAX
aborts; and an abort ends as a command does, with one line.

Processes leave together, the one that holds the service last. A client of a service that is gone may hang: whoever
leaves waits for it a few seconds only, and an abort meanwhile ends the process with the same exit code.
"""

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from jtransfer.core.errors import InputError
from jtransfer.core.processes import Process
from jtransfer.core.show import say

HEARTBEAT = 20  # seconds without one, after which a process counts as gone
EVERY = 0.5  # seconds between looks at what the others say
_PATIENCE, _CLOSING = 10.0, 300.0  # seconds in which the others come to leave, too; and after a run that is complete
_ROOT = "jtransfer/"
_FAILED, _LEAVES, _LEFT = "failed", "leaves", "left"
_CONNECTIONS = re.compile(r"[Gg]loo|NCCL|UNAVAILABLE|coordination|heartbeat|[Bb]arrier|DEADLINE_EXCEEDED|by peer")

_leaving = threading.Lock()  # whoever holds it ends the process
_told = threading.Event()  # whoever leaves has written its line
_ends: list[tuple[int, str]] = []  # exit codes and lines that this process may end with; the first counts
_expected, _joined, _failing = threading.Event(), threading.Event(), threading.Event()
_kept: list[Any] = []  # what C calls must not be collected


def join(listeners: Mapping[str, Callable[[Any], None]], process: Process | None = None) -> None:
    """Joins the processes of the cluster, and begins to listen to them.

    Args:
      listeners: What is published → the function that is called once, with the value, when any process has published
        it.
      process: Which process this is; None is what JAX finds, as on a TPU pod or with Slurm.

    Raises:
      InputError: There is no cluster, or its processes do not all come.
    """
    import jax

    _catch_aborts()
    try:
        jax.distributed.initialize(**(process._asdict() if process else {}), heartbeat_timeout_seconds=HEARTBEAT)
    except (ValueError, RuntimeError) as error:
        raise InputError(_without_cluster(process, " ".join(str(error).split()))) from None
    _joined.set()
    ended = threading.Event()
    thread = threading.Thread(target=_listen, args=(dict(listeners), ended), daemon=True)
    thread.start()
    atexit.register(lambda: (_part(_hear, 0, _CLOSING), ended.set(), thread.join()))  # before JAX closes the connection


def _without_cluster(process: Process | None, reason: str) -> str:
    if process is None:
        return f"--distributed finds no cluster ({reason}); leave it out on one machine"
    return f"not all {process.num_processes} processes came to {process.coordinator_address}: {reason:.300}"


def expect() -> None:
    """Says that this process is going to join a cluster."""
    _expected.set()


def joined() -> bool:
    """Returns whether this is one of the processes of a cluster that was joined by `join`."""
    return _joined.is_set()


def will_join(seconds: float) -> bool:
    """Returns whether this process belongs to a cluster, or does so within that many seconds, if it is joining one."""
    return _expected.is_set() and _joined.wait(seconds)


def publish(what: str, value: Any) -> None:
    """Tells all processes something, which is JSON. Of several processes that say the same, the first is heard."""
    with contextlib.suppress(Exception):  # it was said before, or nobody hears it any more
        _client().key_value_set(_ROOT + what, json.dumps(value))


def exchange(what: str, value: Any, seconds: float) -> list[Any]:
    """Returns what each process gave, in their order, when all have called this; it needs no main thread.

    Raises:
      TimeoutError: A process did not call it in that many seconds.
    """
    own, number = _place()
    _client().key_value_set(f"{_ROOT}{what}/{own}", json.dumps(value))
    return _of_all(_hear, what, number, seconds)


def leave(code: int, line: str = "", reason: str = "") -> NoReturn:
    """Ends this process when the others leave, too, or do not come to in a few seconds.

    Args:
      code: The exit code, in whatever order the processes leave.
      line: What is written on standard error.
      reason: Why this process has failed, which the others end with; "" if it has not.
    """
    _leaving.acquire()
    _ends.insert(0, (code, line))
    _write(line)
    _told.set()
    if joined():
        with contextlib.suppress(Exception):
            thread = threading.Thread(target=_part, args=(_said, code, _PATIENCE, reason), daemon=True)
            thread.start()
            thread.join(_PATIENCE)
    os._exit(code)


def _part(hear: Callable[[], Mapping[str, Any]], code: int, seconds: float, reason: str = "") -> None:
    """Waits until all processes leave; process 0, by which they hear of each other, until the others have left."""
    own, number = _place()
    with contextlib.suppress(Exception):  # as when the service is gone
        if reason:
            failed(reason, code)
        for word in (_LEAVES, _LEFT):
            _client().key_value_set(f"{_ROOT}{word}/{own}", json.dumps(code), allow_overwrite=True)
            if word == _LEAVES or own == 0:
                _of_all(hear, word, number, seconds)


def _of_all(hear: Callable[[], Mapping[str, Any]], what: str, number: int, seconds: float) -> list[Any]:
    """What each process said, as soon as all have; raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        said = hear()
        found = [said.get(f"{what}/{rank}") for rank in range(number)]
        if None not in found:
            return found
        if time.monotonic() >= end:
            raise TimeoutError(f"not every process said {what!r} in {seconds:.0f} s")
        time.sleep(EVERY / 10)


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """A context of a command: one that fails ends at once, whatever its threads wait for, and tells other processes."""
    try:
        yield
    except SystemExit as end:
        if end.code:
            _fail(end.__context__, end.code if isinstance(end.code, int) else 1)
        raise
    except BaseException as error:
        traceback.print_exc()
        _fail(error, 1)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """A context of what processes do together: an error of one is told to the others at once.

    An error of a connection waits until it is known whether another process has failed or is gone; this one then ends.
    """
    try:
        yield
    except Exception as error:
        _tell(error)
        raise


@contextlib.contextmanager
def closing(resource: contextlib.AbstractContextManager, seconds: float = 3.0) -> Iterator[Any]:
    """A context of a resource whose closing waits for all processes: after an error of one, only so many seconds."""
    opened = resource.__enter__()
    try:
        yield opened
    except Exception as error:
        _tell(error)
        thread = threading.Thread(target=_close, args=(resource, *sys.exc_info()), daemon=True)
        thread.start()
        thread.join(seconds if joined() else None)
        raise
    except BaseException:
        resource.__exit__(*sys.exc_info())
        raise
    resource.__exit__(None, None, None)


def _close(resource: contextlib.AbstractContextManager, *error: Any) -> None:
    with contextlib.suppress(Exception):  # the error that it closes for is told
        resource.__exit__(*error)


def _tell(error: Exception) -> None:
    if not joined() or _failing.is_set():
        return
    _failing.set()
    if _CONNECTIONS.search(str(error)):
        time.sleep(HEARTBEAT + 5)
    failed(" ".join(str(error).split()) or type(error).__name__, 2 if isinstance(error, InputError) else 1)


def failed(reason: str, code: int) -> None:
    """Tells the other processes that this one has failed, and why."""
    _ends.insert(0, (code, f"error: {reason}"))
    publish(_FAILED, {"process": _place()[0], "reason": reason, "code": code})


def _fail(error: BaseException | None, code: int) -> NoReturn:
    stopped = isinstance(error, KeyboardInterrupt)  # as all are
    leave(code, reason="" if stopped else " ".join(str(error).split()) or type(error).__name__)


def _listen(listeners: dict[str, Callable], ended: threading.Event) -> None:
    while not ended.wait(EVERY):
        said = _hear()
        left = [code for what, code in said.items() if what.startswith(f"{_LEAVES}/") and code]
        if left and not _ends:
            _ends.append((left[0], f"another process has ended with exit code {left[0]}, and this one ends with it"))
        for what in set(said) & set(listeners):
            listeners.pop(what)(said[what])


def _hear() -> dict[str, Any]:
    """What is said; it ends this process where another one has failed."""
    try:
        said = _said()
    except Exception:  # an abort follows
        return {}
    if _FAILED in said:
        _follow(said[_FAILED])
    return said


def _follow(failure: Mapping[str, Any]) -> None:
    """Ends this process as another one has failed."""
    own, other = _place()[0], failure["process"]
    if other != own:
        leave(failure["code"], f"error: process {other} failed: {failure['reason']:.500}; process {own} stops with it")


def _said() -> dict[str, Any]:
    return {key.removeprefix(_ROOT): json.loads(value) for key, value in _client().key_value_dir_get(_ROOT)}


def _client() -> Any:
    return _state().client


def _place() -> tuple[int, int]:
    """This process's number, and how many there are; JAX's own functions start a backend."""
    return _state().process_id, _state().num_processes


def _state() -> Any:
    from jax._src import distributed

    return distributed.global_state


def _catch_aborts() -> None:
    """Lets an abort, by which JAX ends a process whose cluster is broken, end it with a line and exit code 1."""
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_gone)
    _kept.append(handler)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))


def _gone(number: int) -> None:
    """Ends the process, of which a thread aborts; that thread may hold what others wait for, and waits for none."""
    own, many = _place()
    who = f"process {1 - own}" if many == 2 else "another process, which is named above,"
    if _leaving.acquire(blocking=False):
        _ends.append(
            (1, f"error: {who} is gone, so process {own} stops; the same command goes on from the last checkpoint")
        )
        _write(_ends[0][1])
    else:
        _told.wait(20)
    os._exit(_ends[0][0])


def _write(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        if line:
            say(line, file=sys.stderr)
