"""The classes of a target without labels: those of a source."""

from collections.abc import Mapping
from typing import Any

from jtransfer.objectives import TARGET
from jtransfer.runs import folder as folders
from jtransfer.runs.open import open as open_run
from jtransfer.runs.stream import Classes


def known(config: Any, streams: Mapping[str, Any]) -> Classes | None:
    """Returns the classes that a target without labels has: those of the first stream that has some, or of the run that
    this one begins with; None where a term looks at labels of the target, or there are none.

    Args:
      config: the run's.
      streams: name → stream, without the target.
    """
    if any(map(_looks_at_target, config.objective)):
        return None
    for name, stream in streams.items():
        if stream.sources["train"].label_kind == "class":
            return Classes(stream.task_name, stream.class_names, f"the stream {name!r}")
    if folders.is_run(config.init):
        begun = open_run(config.init)
        return Classes(begun.config.task, list(begun.class_names), str(config.init)) if begun.class_names else None
    return None


def _looks_at_target(entry: Any) -> bool:
    name, fields = (entry, {}) if isinstance(entry, str) else (entry[0], entry[-1])
    on = fields.get("on", ()) if isinstance(fields, Mapping) else ()
    return name == "task" and (not on or TARGET in on)
