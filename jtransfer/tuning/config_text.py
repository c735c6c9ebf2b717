"""A config as a Python file that runs alone."""

import os
import pprint
from collections.abc import Mapping
from typing import Any

from jtransfer.core import whole_file
from jtransfer.core.place import place_of
from jtransfer.runs import config as configs


def write(path: str | os.PathLike, config: Any, told: str) -> None:
    """Writes a config as a file with `get_config()`, for --config=FILE.

    Args:
      path: The file.
      config: The config.
      told: What the file says of it.
    """
    place = place_of(path)
    assert place is not None, "a config is written into a folder"
    whole_file.write(place, text(config, told).encode())


def text(config: Any, told: str) -> str:
    """Returns the content of such a file: the fields that differ from the defaults. Arguments as of `write`."""
    full = configs.fill(config)
    full["phases"] = [_differences(phase, configs.PHASE | {"name": ""}) for phase in full["phases"]]
    full["evals"] = [_differences(one, configs.EVALUATION | {"name": ""}) for one in full["evals"]]
    fields = {"version": configs.VERSION, **_differences(full, configs.fill({}))}
    body = pprint.pformat(fields, sort_dicts=False, width=110)
    told = told.replace("\\", "/").replace('"', "'")
    return f'"""{told}"""\n\n\ndef get_config():\n    return {_indented(body)}\n'


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _differences(full: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that differ; of a section, its fields that do."""
    found = {}
    for name, value in full.items():
        before = usual.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            value = _differences(value, before)
            if value:
                found[name] = value
        elif name not in usual or value != before:
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    """The value without the classes of configs."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else value
