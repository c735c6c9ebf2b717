"""What a sweep varies: `optim.lr=log(1e-5, 1e-2)`, and how a value gets into a config."""

import ast
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError, unknown
from jtransfer.runs import config as configs
from jtransfer.runs import config_file

_SPACE = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_ADAPTERS = re.compile(r"adapters\.(\w+)")
KINDS = ("log", "uniform", "int", "choice")


class Space(NamedTuple):
    """The values of one field.

    Attributes:
      field: Its path in a config, as "optim.lr"; "adapters.rank" is a field of all rows of adapters.
      kind: "log" and "uniform", numbers between two; "int", whole ones; "choice", one of several values.
      values: The two bounds, or the values.
    """

    field: str
    kind: str
    values: tuple[Any, ...]


def parse(texts: Sequence[str]) -> list[Space]:
    """Returns the spaces that texts such as "optim.lr=log(1e-5, 1e-2)" state.

    Raises:
      InputError: One states none, or there are none.
    """
    if not texts:
        raise InputError("say what is varied: --vary='optim.lr=log(1e-5,1e-2)' --vary='batch_size=choice(16,32)'")
    found = [_space(text) for text in texts]
    fields = [one.field for one in found]
    if twice := next((field for field in fields if fields.count(field) > 1), ""):
        raise InputError(f"--vary: {twice} is varied twice; give all its values at once")
    return found


def _space(text: str) -> Space:
    field, equals, given = text.partition("=")
    parsed = _SPACE.fullmatch(given)
    if not equals or not parsed or not field.strip():
        raise InputError(f"--vary={text!r}: write FIELD=log(a,b), uniform(a,b), int(a,b) or choice(a,b,…)")
    kind = parsed[1]
    if kind not in KINDS:
        raise unknown(f"--vary={text!r}: space", kind, KINDS)
    values = _values(parsed[2])
    if kind == "choice":
        if not values:
            raise InputError(f"--vary={text!r}: name at least one value")
        return Space(field.strip(), kind, values)
    whole = (int,) if kind == "int" else (int, float)
    if len(values) != 2 or not all(type(value) in whole for value in values) or not values[0] < values[1]:
        raise InputError(f"--vary={text!r}: give two {'whole ' * (kind == 'int')}numbers, the smaller first")
    if kind == "log" and values[0] <= 0:
        raise InputError(f"--vary={text!r}: a logarithmic range begins above 0; take uniform(…)")
    return Space(field.strip(), kind, values)


def _values(text: str) -> tuple[Any, ...]:
    try:
        return ast.literal_eval(f"({text},)") if text.strip() else ()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return tuple(_value(part.strip()) for part in text.split(","))


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def suggested(space: Space, trial: Any) -> Any:
    """Returns the value of a trial of Optuna."""
    draws: Mapping[str, Callable[[], Any]] = {
        "log": lambda: trial.suggest_float(space.field, *map(float, space.values), log=True),
        "uniform": lambda: trial.suggest_float(space.field, *map(float, space.values)),
        "int": lambda: trial.suggest_int(space.field, *space.values),
    }
    if space.kind != "choice":
        return draws[space.kind]()
    names = {repr(value): value for value in space.values}
    return names[trial.suggest_categorical(space.field, list(names))]


def put(config: Any, values: Mapping[str, Any]) -> Any:
    """Returns a config with the values of some fields.

    Args:
      config: With all fields, as plain dicts or not; it is not changed.
      values: Path → value.

    Raises:
      InputError: There is no such field, or a value is of another type than the field's.
    """
    changed = configs.fill(config)
    for field, value in values.items():
        if adapters := _ADAPTERS.fullmatch(field):
            changed["adapters"] = _rows(changed["adapters"], adapters[1], value)
        else:
            text = value if isinstance(value, str) else repr(value)
            config_file.override(changed, [f"--config.{field}={text}"], "--config")
    return configs.complete(changed).copy_and_resolve_references().unlock()


def _rows(rows: Sequence[Any], name: str, value: Any) -> list[Any]:
    if not rows:
        raise InputError(f"adapters.{name} is varied, but config.adapters is empty; name some")
    found = [list(copy.deepcopy(row)) for row in rows]
    for row in found:
        fields = dict(row[2]) if len(row) > 2 else {}
        row[2:] = [{**fields, name: value}]
    return found


def check(config: Any, spaces: Sequence[Space]) -> None:
    """Checks that the config takes both ends of each range, and each value.

    Raises:
      InputError: It does not.
    """
    first = {space.field: space.values[0] for space in spaces}
    for space in spaces:
        for value in space.values:
            given = float(value) if space.kind in ("log", "uniform") else value
            put(config, {**first, space.field: given})
