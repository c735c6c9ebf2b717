"""The trackers that a config names."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core import fields
from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry

TRACKERS = Registry(
    "tracker",
    {
        "aim": "jtransfer.tracking.aim:make",
        "mlflow": "jtransfer.tracking.mlflow:make",
        "tensorboard": "jtransfer.tracking.tensorboard:make",
        "wandb": "jtransfer.tracking.wandb:make",
    },
    {"tensorboard": ("tb",), "wandb": ("W&B", "weights_and_biases")},
)


def entries(given: Any) -> list[tuple[str, dict[str, Any]]]:
    """Returns the name and the fields of each tracker that `config.trackers` asks for.

    Args:
      given: One entry or a list of them: a name or an address, or (name, fields), or a dict of "name" and fields.

    Raises:
      InputError: An entry is none of these, or a tracker is named twice.
    """
    one = isinstance(given, str | Mapping) or _is_pair(given)
    found = [_entry(entry) for entry in ([given] if one else given) if entry]
    names = [TRACKERS.canonical(name) for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"config.trackers names {name!r} twice")
    return found


def _is_pair(entry: Any) -> bool:
    """Whether an entry is (name, fields), and no list of a name and of a dict with another one."""
    two = isinstance(entry, list | tuple) and len(entry) == 2
    return two and isinstance(entry[0], str) and isinstance(entry[1], Mapping) and "name" not in entry[1]


def _entry(entry: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, Mapping):
        entry = (entry.get("name"), {key: value for key, value in entry.items() if key != "name"})
    name, given = entry if _is_pair(entry) else (entry, {})
    if not isinstance(name, str):
        raise InputError(f'config.trackers: {entry!r} is neither "name" nor ("name", {{fields}})')
    return name, dict(given)


def check(given: Any) -> None:
    """Imports the trackers that a config asks for, and checks their fields.

    Raises:
      InputError: As for `entries`; or there is no such tracker or field, or its library is missing.
    """
    for name, own in entries(given):
        fields.check("config.trackers", "tracker", name, TRACKERS[name], own, skip=1)
