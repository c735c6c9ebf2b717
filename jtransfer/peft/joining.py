"""Adapters as trees: several at once, none, more or less of one, one of a greater rank."""

import re
from collections.abc import Callable
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import slots, stacking


def label(adapters: trees.Tree, name: str) -> dict[str, Any]:
    """Returns adapters whose slots are called after a name, such as "lora.french", in place of any label of theirs.

    Args:
      adapters: the collection.
      name: letters, digits and underscores.
    """
    if not re.fullmatch(r"\w+", name):
        raise InputError(f"adapters: the label {name!r} must be made of letters, digits and underscores")
    return _rebuilt((path, f"{slot.partition('.')[0]}.{name}", own) for path, slot, own in slots.split(adapters))


def add(*adapters: trees.Tree) -> dict[str, Any]:
    """Returns adapters that all are at work at once, each as it is alone; low-rank ones add up their changes.

    Where two have the same slot of a module, the later one's is called after a number, as "lora.2".

    Args:
      *adapters: collections.
    """
    found: dict[tuple[str, str], Any] = {}
    for tree in adapters:
        for path, slot, own in slots.split(tree):
            names = (slot, *(f"{slot.partition('.')[0]}.{i}" for i in range(2, len(found) + 3)))
            found[path, next(name for name in names if (path, name) not in found)] = own
    return _rebuilt((path, slot, own) for (path, slot), own in found.items())


def disable(adapters: trees.Tree, pattern: str = ".*") -> dict[str, Any]:
    """Returns adapters without those whose whole `<path of the module>/<slot>` a regular expression matches.

    Args:
      adapters: the collection.
      pattern: such as ".*/lora.french"; by default all of them.

    Raises:
      InputError: it matches none.
    """
    kept = [found for found in slots.split(adapters) if not re.fullmatch(pattern, f"{found[0]}/{found[1]}")]
    if len(kept) == len(list(slots.split(adapters))):
        raise InputError(f"disable: {pattern!r} matches no adapter, such as {next(_names(adapters), 'none')}")
    return _rebuilt(kept)


def _names(adapters: trees.Tree) -> Any:
    return (f"{path}/{slot}" for path, slot, _ in slots.split(adapters))


def scale(adapters: trees.Tree, factor: Any) -> dict[str, Any]:
    """Returns adapters whose change is a multiple of what it was; with 0 it is none, and nothing is compiled anew.

    Args:
      adapters: the collection.
      factor: a number or an array [].

    Raises:
      InputError: an adapter's change can't be scaled.
    """
    return _each(adapters, "scale", factor)


def pad(adapters: trees.Tree, rank: int) -> dict[str, Any]:
    """Returns adapters of a greater rank with the same change, so that those of several ranks have the same shapes.

    Args:
      adapters: the collection.
      rank: of all of them.

    Raises:
      InputError: an adapter has a greater rank, or none.
    """
    return _each(adapters, "pad", rank)


def _each(adapters: trees.Tree, what: str, value: Any) -> dict[str, Any]:
    def changed(path: str, slot: str, own: dict[str, Any]) -> dict[str, Any]:
        change: Callable[..., Any] | None = getattr(slots.method_of(slot), what)
        if change is None:
            raise InputError(f"{path}: the adapter {slot!r} has nothing to {what}")
        return stacking.of_each(lambda own: change(own, value), own)(own)

    return _rebuilt((path, slot, changed(path, slot, own)) for path, slot, own in slots.split(adapters))


def _rebuilt(found: Any) -> dict[str, Any]:
    return trees.unflatten(
        {f"{path}/{slot}/{name}": leaf for path, slot, own in found for name, leaf in trees.flatten(own).items()}
    )
