"""Signals that stop a run: the step is finished and the state saved, at the same step on every process.

A thread hears of a signal at once, also while the program compiles or waits for a device. If nothing would be lost, it
ends the process; otherwise the run is told to stop at the next point, a border between two steps, or two batches of an
evaluation, which all processes pass in the same order. A second signal ends the process at once.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

from jtransfer.core import cluster
from jtransfer.core.show import say

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
CODE, INTERRUPTED = 42, 130  # exit codes
_JOINING = 20.0  # seconds that a signal waits for the others to come, which are to hear of it
_ANSWERING = 30.0  # seconds in which each of them says where it is
_SAME = 0.25  # seconds in which a signal that comes twice is one: as a process and its group are sent it


class Stopped(KeyboardInterrupt):
    """A run was stopped by a signal, and what it did is saved.

    Attributes:
      code: The exit code of a command that ends by it.
    """

    code = INTERRUPTED


class _Run:
    """The run that signals stop; the main thread reports where it is, and threads tell it to stop."""

    def __init__(self):
        self.lock = threading.RLock()
        self.signal: int | None = None
        self.points = 0  # that the main thread has passed
        self.stop_at: int | None = None
        self.unsaved = False
        self.ended = False
        self.step: int | None = None  # the last that is saved
        self.folder = ""
        self.whole = ""  # the folder of the run that this one is a part of, or of all runs of one command
        self.heard, self.told = socket.socketpair()  # the system writes the numbers of signals into it
        self.told.setblocking(False)

    def line(self) -> str:
        by = f"stopped by {signal.Signals(self.signal or signal.SIGINT).name}"
        if self.step is None:
            return f"{by} before the first step; nothing is lost, and the same command begins again"
        return f"{by} after step {self.step}, which is saved; go on by the same command with --workdir={self.folder}"

    def code(self) -> int:
        return INTERRUPTED if self.signal == signal.SIGINT else CODE


_current: _Run | None = None


def take() -> Callable[[], None]:
    """Lets SIGTERM, SIGINT, SIGUSR1 and SIGHUP stop the run, and returns a function that restores what they did before.

    Only the main thread may call it. SIGHUP is left alone where it is ignored, as by `nohup`.
    """
    global _current
    run = _current = _Run()
    taken = [n for n in SIGNALS if not (n == signal.SIGHUP and signal.getsignal(n) == signal.SIG_IGN)]
    before = {number: signal.signal(number, _leave_to_thread) for number in taken}
    fd = signal.set_wakeup_fd(run.told.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_listen, args=(run,), daemon=True)
    thread.start()

    def restore() -> None:
        global _current
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        run.told.close()
        thread.join()
        run.heard.close()
        _current = None

    return restore


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """A context in which signals stop the run (`take`); in another thread than the main one, it does nothing."""
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    restore = take()
    try:
        yield
    finally:
        restore()


def take_over() -> None:
    """Takes the signals again, after a library has taken them for itself."""
    if _current is not None:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _leave_to_thread)


def begin(folder: str | os.PathLike, step: int | None) -> None:
    """Says where a run is saved, and its last step that is; until `working`, nothing is lost if it ends."""
    if _current is not None:
        with _current.lock:
            _current.folder, _current.step = _current.whole or str(folder), step
            _current.ended = _current.unsaved = False


@contextlib.contextmanager
def beside(folder: str | os.PathLike) -> Iterator[None]:
    """A context for what is done beside a run that is complete, other runs included, which a signal stops as it would
    stop the run: the same command with the run's folder goes on with it."""
    if _current is None:
        yield
        return
    with _current.lock:
        _current.folder = _current.whole = str(folder)
        _current.ended, _current.unsaved = False, False
    try:
        yield
    finally:
        with _current.lock:
            _current.whole, _current.ended = "", True


@contextlib.contextmanager
def several(folder: str | os.PathLike) -> Iterator[Callable[[], None]]:
    """A context of several runs one after the other, of which who stops them is told the folder of all; gives a
    function that is called between two runs, where nothing would be lost."""

    def between() -> None:
        if _current is not None:
            _current.whole = str(folder)
            begin(folder, None)

    between()
    try:
        yield between
    finally:
        if _current is not None:
            _current.whole = ""


def working() -> None:
    """Says that a step begins, which would be lost."""
    if _current is not None and not _current.unsaved:
        with _current.lock:
            _current.unsaved = True


def saved(step: int) -> None:
    """Says that a step, and all before it, is on the disk as a whole."""
    if _current is not None:
        with _current.lock:
            _current.step, _current.unsaved = step, False


def ended() -> None:
    """Says that the run is complete: it is not stopped any more."""
    if _current is not None:
        with _current.lock:
            _current.ended = True


def reached() -> bool:
    """Returns whether the run is to stop here. All processes must call it at the same points."""
    if _current is None:
        return False
    with _current.lock:
        _current.points += 1
        return _current.stop_at is not None and _current.points >= _current.stop_at


def check() -> None:
    """Raises `Stopped` if the run is to stop here. All processes must call it at the same points."""
    if reached():
        raise stopped()


def stopped() -> Stopped:
    """Returns the error of a run that has stopped, whose text says at which step and how it goes on."""
    assert _current is not None
    error = Stopped(_current.line())
    error.code = _current.code()
    return error


def agree(number: int) -> None:
    """Stops the run of this process where all processes do, after a signal to one of them; called by each once."""
    run = _current
    if run is None:
        return
    with run.lock:  # the main thread passes no further point meanwhile
        run.signal = number
        try:
            place = {"points": run.points, "unsaved": run.unsaved, "ended": run.ended}
            places = cluster.exchange("at", place, 0.0 if run.ended else _ANSWERING)
        except TimeoutError as error:
            if run.ended:  # which others may be, too, and gone
                return
            cluster.leave(1, f"error: stopping failed: {error}; the last checkpoint stands")
        if any(place["ended"] for place in places):
            return
        if not any(place["unsaved"] for place in places):
            cluster.leave(run.code(), run.line())
        run.stop_at = 1 + max(place["points"] for place in places)
    _announce(number)


def _before_fork() -> None:
    if _current is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    if _current is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _in_child() -> None:
    """What another process, forked from this one, does of signals is its own affair."""
    global _current
    if _current is not None:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) is _leave_to_thread:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _after_fork()
        _current = None


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _leave_to_thread(number: int, frame: object) -> None:
    """What Python does of a signal; the thread has heard of it."""


def _listen(run: _Run) -> None:
    first: tuple[int, float] | None = None
    while numbers := run.heard.recv(16):
        for number in set(numbers) & set(SIGNALS):
            if number == signal.SIGHUP:
                _leave_terminal()
            if first is None:
                first = number, time.monotonic()
                _ask(run, number)
            elif number != first[0] or time.monotonic() - first[1] > _SAME:
                _end_at_once(number)


def _leave_terminal() -> None:
    """What is printed goes nowhere, if the terminal is gone: the run could not go on to save otherwise."""
    for output in (1, 2):
        try:
            termios.tcgetattr(output)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def _ask(run: _Run, number: int) -> None:
    if cluster.will_join(_JOINING):
        cluster.publish("stop", number)
        return
    with run.lock:
        run.signal = number
        if run.ended:
            return
        if not run.unsaved:
            cluster.leave(run.code(), run.line())
        run.stop_at = run.points + 1
    _announce(number)


def _announce(number: int) -> None:
    name = signal.Signals(number).name
    say(f"{name}: the step is finished and saved; a second signal ends at once", file=sys.stderr)


def _end_at_once(number: int) -> None:
    name = signal.Signals(number).name
    if cluster.joined():
        cluster.failed(f"it was ended by a second signal, {name}", 128 + number)
    say(f"ended at once by {name}; the last checkpoint stands", file=sys.stderr)
    os._exit(128 + number)
