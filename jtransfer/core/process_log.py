"""What each process of a cluster says, kept in a file of its own: `logs/process-<number>.txt` in the run's folder."""

import atexit
import contextlib
import os
import threading
from time import monotonic
from typing import Any

from jtransfer.core import show

FOLDER = "logs"
EVERY = 30.0  # seconds between uploads, where nothing can be appended to


class _Log:
    """The lines of a process; they are held until the run's folder may be written to."""

    def __init__(self, path: Any):
        self.path, self.begun = path, False
        self._lines, self._uploaded, self._lock = [], 0.0, threading.Lock()

    def hear(self, line: str) -> None:
        if self._lock.acquire(timeout=2):  # whoever holds it may be what a signal has broken
            self._lines.append(f"{line}\n")
            self._write()
            self._lock.release()

    def begin(self) -> None:
        self.begun = True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if "://" in str(self.path):
            self._lines[:0] = [self.path.read_text()] if self.path.exists() else []
            atexit.register(self.upload)
        self._write()

    def upload(self) -> None:
        """Writes the whole file into a bucket."""
        self._uploaded = monotonic()
        self.path.write_text("".join(self._lines))

    def _write(self) -> None:
        if not self.begun:
            return
        if "://" in str(self.path):
            if monotonic() - self._uploaded >= EVERY:
                self.upload()
            return
        with contextlib.suppress(OSError), open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(self._lines))
        self._lines.clear()


_log: Any = None


def hear(folder: str | os.PathLike, number: int) -> None:
    """Begins to hold what this process says.

    Args:
      folder: The run's folder.
      number: The number of the process.
    """
    global _log
    from etils import epath  # slow to import, and not needed for the help of a command

    _log = _Log(epath.Path(folder) / FOLDER / f"process-{number}.txt")
    show.HEARERS.append(_log.hear)


def begin() -> None:
    """Writes what was heard, and from now on all that is said, as the folder is this run's now; nothing without
    `hear`."""
    if _log is not None and not _log.begun:
        _log.begin()
