"""Fills sections of a config from their defaults, checks types and bounds, and lists differences. Plain dicts."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeGuard

from ml_collections import ConfigDict

from jtransfer.core.errors import InputError, unknown

EITHER = {  # fields that may be of several types
    "keep": (int, Mapping),
    "trackers": (str, tuple, list, Mapping),
    "phases": (str, tuple, list),
    "trainable": (str, int, tuple, list),
    "sharding": (str, tuple, list),
    "quantize": (str, tuple, list),
    "multitask": (str, tuple, list),
}


def fill(defaults: Mapping, given: Mapping, where: str, free: Collection[str]) -> dict[str, Any]:
    """Returns a section with all fields.

    Args:
      defaults: The fields and their defaults; a section inside it is filled likewise.
      given: The fields that differ.
      where: The name of the section, for errors.
      free: Names of sections inside it that may have any key.

    Raises:
      InputError: A field is unknown, or its value is of another type than the default.
    """
    result = copy.deepcopy(dict(defaults))
    for key, value in given.items():
        if key not in defaults:
            raise unknown(f"field of {where}:", key, defaults)
        if isinstance(defaults[key], Mapping):
            value = plain(value, f"{where}.{key}")
            result[key] = value if key in free else fill(defaults[key], value, f"{where}.{key}", free)
        else:
            result[key] = _typed(defaults[key], value, f"{where}.{key}")
    return result


def _typed(default_value: Any, value: Any, where: str) -> Any:
    kind = type(default_value)
    if isinstance(default_value, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    either = EITHER.get(where.rsplit(".", 1)[-1])
    sequence = (tuple, list) if kind in (tuple, list) else kind
    if not isinstance(value, either or sequence) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}={value!r} must be of type {kind.__name__}, like {default_value!r}")
    return value


def check_bounds(
    config: Mapping[str, Any], bounds: Mapping[str, tuple[float, float | None]], where: str = "config."
) -> None:
    """Checks that numbers of a config are at least the first of their bounds and below the second.

    Raises:
      InputError: A number is out of its bounds.
    """
    for field, (least, below) in bounds.items():
        section, _, name = field.rpartition(".")
        values = config.get(section, {}) if section else config
        if name in values and not (values[name] >= least and (below is None or values[name] < below)):
            limit = "" if below is None else f" and below {below}"
            raise InputError(f"{where}{field}={values[name]} must be at least {least}{limit}")


def plain(value: Any, what: str) -> dict[str, Any]:
    """Returns a section as a plain dict, a copy.

    Raises:
      InputError: It is neither a ConfigDict nor a dict.
    """
    if not isinstance(value, Mapping | ConfigDict):
        raise InputError(f"{what} must be a ConfigDict or a dict, not {value!r}")
    return value.to_dict() if isinstance(value, ConfigDict) else copy.deepcopy(dict(value))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`field: old → new` for every field in which two configs (plain dicts) differ."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif _are_sections(a) and _are_sections(b) and len(a) == len(b):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                lines += differences(x, y, f"{prefix}{key}[{i}].")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} → {b!r}")
    return lines


def _are_sections(value: Any) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
