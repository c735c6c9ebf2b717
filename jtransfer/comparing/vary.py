"""What a comparison varies: `optim.lr=1e-3,3e-3`, an axis of a grid, and `lora: adapters=…; optim.lr=1e-3`, several
fields that change together under a name."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer.core import literals
from jtransfer.core.errors import InputError
from jtransfer.runs import config as configs
from jtransfer.runs import config_file

_NAMED = re.compile(r"\s*([^=:;,\[\](){}'\"]+?)\s*:(.*)", re.DOTALL)
AS_IT_IS = "config"  # the name of a variation that changes nothing
_OURS = {  # fields that a comparison sets itself
    "seed": "give --seeds=N for several seeds",
    "data.test": "the test split is one for all, and read once, by the winner",
    "data.validation": "all are compared on the same examples",
}


class Variation(NamedTuple):
    """One setting that is compared.

    Attributes:
      name: In tables, such as "init=scratch, optim.lr=0.003".
      changes: Pairs of a field of the config and the text of its value, in order.
    """

    name: str
    changes: tuple[tuple[str, str], ...]


def parse(texts: Sequence[str]) -> list[Variation]:
    """Returns all settings of a grid, the last axis changing fastest; the first one is the baseline.

    Args:
      texts: What `--vary` was given, in order. `FIELD=VALUE,VALUE,…` is an axis; commas inside of brackets and quotes
        belong to a value. `NAME: FIELD=VALUE; FIELD=VALUE` is a setting of the axis of all that have names; if there is
        only one, the config as it is comes before it.

    Raises:
      InputError: It is neither, a value is given twice, or a field is varied twice.
    """
    axes: list[list[Variation]] = []
    named: list[Variation] = []
    for text in texts:
        if found := _NAMED.fullmatch(text):
            if not named:
                axes.append(named)
            named.append(Variation(found[1].strip(), tuple(_assignments(found[2], text))))
        else:
            axes.append(list(_axis(text)))
    if len(named) == 1:
        named.insert(0, Variation(AS_IT_IS, ()))
    _check(axes)
    return [_joined(cell) for cell in itertools.product(*axes)]


def changed(config: Mapping[str, Any], variation: Variation) -> dict[str, Any]:
    """Returns a config, plain dicts with all fields, with the changes of a variation, checked.

    Raises:
      InputError: There is no such field, a value is of the wrong type, or the comparison sets the field itself.
    """
    made = copy.deepcopy(dict(config))
    for field, text in variation.changes:
        if field in _OURS:
            raise InputError(f"--vary={field}={text}: {_OURS[field]}")
        literal = literals.read(text)
        if field in configs.LISTS and isinstance(literal, list | tuple):
            made[field] = list(literal)
        else:
            value = literal if isinstance(literal, str) else text
            config_file.override(made, [f"config.{field}={value}"], "config")
    try:
        return configs.fill(made)
    except InputError as error:
        raise InputError(f"--vary, {variation.name!r}: {error}") from None


def _axis(text: str) -> Iterator[Variation]:
    field, equals, rest = (part.strip() for part in text.partition("="))
    field = field.removeprefix("config.")
    values = [part.strip() for part in _cut(rest, ",")]
    if not equals or not field or "" in values:
        raise InputError(f"--vary={text}: write FIELD=VALUE,VALUE,… or 'NAME: FIELD=VALUE; FIELD=VALUE'")
    for value in values:
        yield Variation(f"{field}={value}", ((field, value),))


def _assignments(text: str, whole: str) -> Iterator[tuple[str, str]]:
    for part in _cut(text, ";"):
        field, equals, value = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals or not field or not value:
            raise InputError(f"--vary={whole}: {part.strip()!r} is not FIELD=VALUE; separate several by ';'")
        yield field.removeprefix("config."), value


def _cut(text: str, at: str) -> list[str]:
    try:
        return literals.cut(text, at)
    except InputError as error:
        raise InputError(f"--vary: {error}") from None


def _check(axes: Sequence[Sequence[Variation]]) -> None:
    fields: dict[str, int] = {}
    for number, axis in enumerate(axes):
        for field in dict.fromkeys(field for one in axis for field, _ in one.changes):
            if fields.setdefault(field, number) != number:
                raise InputError(f"--vary names {field!r} twice; give all its values at once")
        names = [one.name for one in axis]
        for one in axis:
            if names.count(one.name) > 1:
                raise InputError(f"--vary gives {one.name!r} twice")
            within = [field for field, _ in one.changes]
            if len(set(within)) < len(within):
                raise InputError(f"--vary, {one.name!r}: a field is set twice")


def _joined(cell: Sequence[Variation]) -> Variation:
    shown = [one.name for one in cell if one.name != AS_IT_IS] or [AS_IT_IS]
    return Variation(", ".join(shown), tuple(change for one in cell for change in one.changes))
