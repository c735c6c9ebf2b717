"""The trackers of a run together: what one of them can't do never stops the training."""

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import Any

from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import one_line
from jtransfer.core.show import say
from jtransfer.tracking.registry import TRACKERS, entries
from jtransfer.tracking.tracker import Tracked, Tracker

FILE = "trackers.json"  # name → what the tracker calls the run
_PATIENCE = 60.0  # seconds that the end of a run waits for a tracker
_LONGEST = 300  # characters of what is said of an error


class Trackers:
    """The trackers of a run that is written, in one process.

    Args:
      given: `config.trackers`.
      folder: The run's folder.
      config: The run's config, as plain JSON.
      step: The step that the run goes on from; 0 where it begins.
    """

    def __init__(self, given: Any, folder: str | os.PathLike, config: Mapping[str, Any], step: int = 0):
        path = epath.Path(folder) / FILE
        before = _read(path)
        ids = dict(before)
        self._open: list[_Local | _Remote] = []
        for name, fields in entries(given):
            tracked = Tracked(os.fspath(folder), epath.Path(folder).name, config, ids.get(name, ""), step)
            opened = _made(name, tracked, fields)
            if opened:
                self._open.append(_Local(opened) if opened.is_local else _Remote(name, opened))
                ids |= {name: opened.id} if opened.id else {}
        if ids != before:
            whole_file.write(path, (json.dumps(ids, indent=2) + "\n").encode())

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Gives all trackers the numbers of a step."""
        for tracker in self._open:
            tracker.write(step, scalars)

    def close(self) -> None:
        """Waits until all trackers have what they were given, for a minute at the most."""
        for tracker in self._open:
            tracker.close()


def _made(name: str, tracked: Tracked, fields: Mapping[str, Any]) -> Tracker | None:
    make = TRACKERS[name]
    try:
        opened = make(tracked, **fields)
    except Exception as error:
        return _warn(name, "can't be opened, and the run goes on without it", error)
    return opened if isinstance(opened, Tracker) else Tracker(opened)


class _Local:
    """A tracker in the run's folder."""

    def __init__(self, tracker: Tracker):
        self.write, self.close = tracker.write, tracker.close


class _Remote:
    """A tracker that may be slow or fail: a thread of its own gives it the numbers, in order."""

    def __init__(self, name: str, tracker: Tracker):
        self._name, self._tracker, self._warned = name, tracker, False
        self._waiting: queue.SimpleQueue[tuple[int, Mapping[str, float]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        self._waiting.put((step, dict(scalars)))

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            said = f"has not taken all numbers within {_PATIENCE:.0f} s; metrics.jsonl has them"
            _warn(self._name, said, None)

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            self._call(self._tracker.write, *given)
        self._call(self._tracker.close)

    def _call(self, function: Any, *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            if not self._warned:
                self._warned = True
                _warn(self._name, "fails, and the run goes on; metrics.jsonl has all numbers", error)


def _warn(name: str, said: str, error: Exception | None) -> None:
    why = f": {type(error).__name__}: {one_line(str(error), _LONGEST)}" if error else ""
    say(f"warning: the tracker {name!r} {said}{why}", file=sys.stderr)


def _read(path: epath.Path) -> dict[str, str]:
    """The ids that are kept; none where the file is missing or damaged, and then a tracker begins a new run."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    texts = found.items() if isinstance(found, dict) else ()
    return {name: id for name, id in texts if isinstance(name, str) and isinstance(id, str)}
