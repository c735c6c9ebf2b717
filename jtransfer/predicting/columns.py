"""Which columns of predictions are written, under which names, and what they are."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.predicting.inputs import FILE

ERROR = "error"  # the column that says why an example could not be read
PROBS = "probs"  # stands for a column of each class
ID = "id"  # is the input's own column or the name of its file
OWN = "own:"
PREFIX = "predicted_"

Columns = dict[str, Any]


class Asked(NamedTuple):
    """A column that is to be written.

    Attributes:
      header: Its name.
      name: What it is: the name of a column of predictions, of the input, `ID` or `PROBS`.
    """

    header: str
    name: str


def asked(columns: Sequence[str]) -> tuple[Asked, ...]:
    """Returns the columns that a list of names asks for, where "header=name" writes one under another name."""
    pairs = [column.rpartition("=") for column in columns]
    return tuple(Asked(header or name, name) for header, _, name in pairs)


def chosen(
    wanted: Sequence[Asked], own: Mapping[str, Sequence[Any]], predicted: Mapping[str, Any], classes: Sequence[str]
) -> Columns:
    """Returns the columns to write, in order.

    Without a choice these are the input's own and those of the predictions but for `PROBS`; a predicted one of a name
    that the input has, too, begins with "predicted_". With one, a name is that of a prediction before it is the
    input's own, which "own:name" is in any case.

    Args:
      wanted: What was asked for; nothing for all.
      own: The input's own columns.
      predicted: The columns of predictions.
      classes: The names of the classes.

    Raises:
      InputError: There is no such column, or two have one name.
    """
    if not wanted:
        rest = {name: values for name, values in predicted.items() if name != PROBS}
        return dict(own) | {prefixed(name, own): values for name, values in rest.items()}
    columns: Columns = {}
    for header, name in wanted:
        for key, values in _of(header, name, own, predicted, classes):
            if key in columns:
                raise InputError(f"--columns: two columns are called {key!r}; write another name, as other={name}")
            columns[key] = values
    return columns


def prefixed(name: str, others: Iterable[str], prefix: str = PREFIX) -> str:
    """Returns a name, with a prefix if one of the other columns has it."""
    while name in others:
        name = prefix + name
    return name


def _of(
    header: str, name: str, own: Mapping[str, Any], predicted: Mapping[str, Any], classes: Sequence[str]
) -> list[tuple[str, Any]]:
    if name == PROBS and PROBS in predicted:
        return list(zip(classes, predicted[PROBS].T, strict=True))
    if name in predicted:
        return [(header, predicted[name])]
    if (plain := name.removeprefix(OWN)) in own:
        return [(header.removeprefix(OWN), own[plain])]
    if name == ID and FILE in own:
        return [(header, [None if file is None else os.path.splitext(os.path.basename(file))[0] for file in own[FILE]])]
    known = [*predicted, *own, *([ID] if FILE in own else [])]
    raise unknown("column", name, known)


def clash(wanted: Sequence[Asked], own: Mapping[str, Any], predicted: Mapping[str, Any]) -> str:
    """Returns words on a column that the input has and that is predicted, too; "" where there is none."""
    both = [name for name in predicted if name in own and name != PROBS]
    if wanted:
        both = [name for header, name in wanted if name in both]
        return f"the column {both[0]!r} is what is predicted; own:{both[0]} is the input's" if both else ""
    return f"{both[0]!r} is the input's own column; what is predicted is {prefixed(both[0], own)!r}" if both else ""


def masked(columns: Mapping[str, Any], gaps: Iterable[int]) -> Columns:
    """Returns columns without the values of some rows: None in lists, NaN, -1 or "" in arrays.

    Args:
      columns: The columns.
      gaps: The numbers of the rows.
    """
    at = list(gaps)
    return {name: _masked(values, at) for name, values in columns.items()} if at else dict(columns)


def _masked(values: Any, at: Sequence[int]) -> Any:
    if not isinstance(values, np.ndarray):
        return [None if i in at else value for i, value in enumerate(values)]
    values = values.copy()
    values[list(at)] = np.nan if values.dtype.kind == "f" else "" if values.dtype.kind == "U" else -1
    return values


def rows(columns: Mapping[str, Any], as_value: Callable[[Any], Any]) -> Iterable[dict[str, Any]]:
    """Yields the rows of columns, each value as a function of it."""
    for values in zip(*columns.values(), strict=True):
        yield {name: as_value(value) for name, value in zip(columns, values, strict=True)}
