"""A config from the command line: `--config=FILE[:ARGUMENT]`, and `--config.optim.lr=3e-3` for each field."""

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jtransfer.core import literals, source_code
from jtransfer.core.errors import InputError, unknown
from jtransfer.runs import config as configs
from jtransfer.runs import filling

_KEY = re.compile(r"\.(\w+)|\[(\d+)\]")
_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def load(given: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config that `get_config` of a Python file returns, with all fields, after the overrides.

    Args:
      given: the file's path, and after a colon the argument of `get_config`.
      overrides: `--config.field=value`, or `--config.phases[0].field=value`, in order. A value is read as the type of
        the field's own; where any key is allowed, as a Python literal or else as text.

    Raises:
      InputError: the file is missing or fails, or a field or the type of a value is wrong.
    """
    path, argument = _split(given)
    config = configs.fill(_call(path, argument))
    return ConfigDict(override(config, overrides, "--config"))


def data_fields(config: Any, overrides: Sequence[str]) -> dict[str, Any]:
    """The fields of `config.data` that a command line gives as `--data.FIELD=value`, each of the type of the config's.

    Raises:
      InputError: a field or the type of a value is wrong, or it is the name of the data set.
    """
    names = [text.partition("=")[0].removeprefix("--data.") for text in overrides]
    if "name" in names:
        raise InputError("write --data=NAME for the name of a data set")
    section = override(config.data.to_dict(), overrides, "--data")
    return {name: section[name] for name in names}


def override(config: dict, overrides: Sequence[str], flag: str) -> dict:
    """A config, or a section of it, in which overrides were written; the dict itself is changed.

    Args:
      config: all fields as plain dicts.
      overrides: `FLAG.field=value`, as for `load`.
      flag: what they begin with.

    Raises:
      InputError: a field or the type of a value is wrong.
    """
    for text in overrides:
        _override(config, text, flag)
    return config


def _split(given: str) -> tuple[str, str]:
    """The path of a config file, which may hold colons and commas, and the argument behind it."""
    ends = [found.end() for found in re.finditer(r"\.py(?=:|$)", given)]
    end = next((end for end in ends if Path(given[:end]).is_file()), next(iter(ends), None))
    path, _, argument = given.partition(":") if end is None else (given[:end], ":", given[end + 1 :])
    return path, argument


def _call(path: str, argument: str) -> Any:
    if not Path(path).is_file() and (own := source_code.packaged(path)):
        path = str(own)
    if not Path(path).is_file():
        raise InputError(f"there is no config file {path!r}; give --config=FILE, such as configs/quickstart.py")
    try:
        namespace: dict[str, Any] = {"__name__": "config", "__file__": path}
        exec(compile(Path(path).read_bytes(), path, "exec"), namespace)
        _check_function(namespace.get("get_config"), path, argument)
        get_config = namespace["get_config"]
        return get_config(argument) if argument else get_config()
    except InputError:
        raise
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}, line {lines[-1] if lines else '?'}: {what}") from None


def _check_function(get_config: Callable | None, path: str, argument: str) -> None:
    if not callable(get_config):
        raise InputError(f"{path} has no function get_config()")
    if argument and not inspect.signature(get_config).parameters:
        raise InputError(f"{path}: get_config() takes no argument, so leave out {':' + argument!r}")


def _override(config: dict, override: str, flag: str) -> None:
    name, equals, text = override.partition("=")
    where = name.removeprefix(flag)
    keys = [int(index) if index else key for key, index in _KEY.findall(where)]
    if not equals or not keys or _KEY.sub("", where):
        of_list = " or --config.phases[0].field=value" if flag == "--config" else ""
        raise InputError(f"{override}: write {flag}.field=value{of_list}")
    if where == ".phases" and text == configs.AUTO:
        config["phases"] = text
        return
    node = config
    for depth, key in enumerate(keys[:-1]):
        node = _child(node, key, _is_free(keys[:depth]), name, (config, flag))
    old = _child(node, keys[-1], _is_free(keys[:-1]), name, (config, flag))
    if isinstance(old, Mapping) or where.removeprefix(".") in configs.LISTS:
        raise InputError(f"{override}: set its fields one by one, such as {next(_names(old, name), name + '.field')}=…")
    node[keys[-1]] = _parse(override, text, old, keys[-1], _is_free(keys[:-1]))


def _is_free(keys: Sequence[str | int]) -> bool:
    """Is any key allowed here? In a phase's `optim`, which holds what differs, `complete` checks them."""
    return bool(configs.FREE & set(keys)) or (keys[:1] == ["phases"] and "optim" in keys)


def _child(node: Any, key: str | int, free: bool, name: str, whole: tuple[dict, str]) -> Any:
    """The value under a key; None where any key is allowed and this one is new."""
    if isinstance(node, Mapping) and (key in node or free):
        return node.get(key)
    if isinstance(node, list) and isinstance(key, int) and key < len(node):
        return node[key]
    raise unknown("config field", name, _names(*whole))


def _names(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _names(value, f"{prefix}.{key}")
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        for index, value in enumerate(node):
            yield from _names(value, f"{prefix}[{index}]")
    else:
        yield prefix


def _parse(override: str, text: str, old: Any, key: Any, free: bool) -> Any:
    """The text as a value of the type of the old one; a pair for a number, too, where any key is allowed."""
    literal = literals.read(text)
    if isinstance(literal, filling.EITHER.get(key, ())) and not isinstance(literal, str | bool):
        return literal
    if old is None or (free and isinstance(literal, tuple | list)):
        return literal
    if isinstance(old, str):
        return literal if isinstance(literal, tuple | list) else text
    if isinstance(old, bool):
        literal = _BOOLS.get(text.lower())
    elif isinstance(old, float):
        literal = float(literal) if isinstance(literal, int) else _float(text)
    elif isinstance(old, tuple | list):
        literal = _sequence(override, text)
        if isinstance(literal, filling.EITHER.get(key, ())):
            return literal
    kinds = {bool: bool, int: int, float: float, tuple: tuple | list, list: tuple | list}
    kind = kinds[type(old)]
    if not isinstance(literal, kind) or (kind is int and isinstance(literal, bool)):
        raise InputError(f"{override}: must be of type {type(old).__name__}, like {old!r}")
    return literal


def _sequence(override: str, text: str) -> Any:
    try:
        return literals.read_sequence(text)
    except InputError as error:
        raise InputError(f"{override}: {error}") from None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
