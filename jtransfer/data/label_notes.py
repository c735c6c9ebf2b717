"""What a user is told of labels before a run begins: what was guessed of them, and what looks odd."""

import collections
from collections.abc import Sequence
from typing import Any

from jtransfer.core.errors import some
from jtransfer.data import label_cells
from jtransfer.data.label_items import Item


def of(
    kind: str, names: Sequence[str], values: Sequence[Any], items: Sequence[Item], name: str, *, guessed: bool
) -> list[str]:
    """Returns lines about the labels of a data set.

    Args:
      kind: The kind of the labels.
      names: The names of the classes.
      values: The targets of all splits.
      items: The labels that these are of.
      name: The name of their column.
      guessed: Whether the kind was guessed.
    """
    lines = [f"labels {name!r}: taken as {_what(kind, names, values)}"] if guessed else []
    if kind == "class":
        lines += [f"labels {name!r}: {line}" for line in _odd_counts(names, values, items)]
    elif kind == "classes":
        lines += [f"labels {name!r}: {line}" for line in _one_hot(values)]
    return lines


def _what(kind: str, names: Sequence[str], values: Sequence[Any]) -> str:
    if kind == "number":
        whole = all(float(value).is_integer() for value in values)
        classes = "; they are whole: if they are classes, set task='classify'" if whole else ""
        return f"numbers to predict, {min(values):g} to {max(values):g}{classes}"
    of_words = {"classes": ", of which an example may have several", "tags": ", one for each word"}.get(kind, "")
    otherwise = "; if they are numbers to predict, set task='regress'" if _are_whole(names) and kind == "class" else ""
    return f"{len(names):,} classes{of_words}: {some(names)}{otherwise}"


def _odd_counts(names: Sequence[str], values: Sequence[int], items: Sequence[Item]) -> list[str]:
    counts = collections.Counter(values)
    empty = [word for k, word in enumerate(names) if not counts[k]]
    single = [names[k] for k, count in counts.items() if count == 1]
    lines = [f"{len(empty):,} of {len(names):,} classes have no example: {some(empty)}"] if empty else []
    if 2 * len(single) > len(counts) > 2:
        lines.append(f"{len(single):,} of {len(names):,} classes have one example only: {some(single)}")
    if odd := label_cells.suspicious(items):
        lines.append(f"texts such as {odd[0]!r} are a class each; if they are several labels, set task='multi_label'")
    return lines


def _one_hot(values: Sequence[Any]) -> list[str]:
    one = len(values[0]) > 1 and all((value != 0).sum() == 1 and value.max() == 1 for value in values)
    return ["every example has exactly one class; if that is always so, set task='classify'"] if one else []


def _are_whole(names: Sequence[str]) -> bool:
    return all(word.isdigit() for word in names)
