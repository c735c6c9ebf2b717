"""The names that adapters have in a tree: `<path of the module>/<slot>/<leaf>`.

A slot is a method's name, such as "lora"; or, where a module has several adapters of one method, a method's name, a
point and a label, such as "lora.french". A method of the user's is named by what its address ends with.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.peft.method import Method

METHODS = Registry(
    "adapter",
    {
        "adalora": "jtransfer.peft.adalora:METHOD",
        "boft": "jtransfer.peft.boft:METHOD",
        "bottleneck": "jtransfer.peft.bottleneck:METHOD",
        "delta": "jtransfer.peft.delta:METHOD",
        "dora": "jtransfer.peft.dora:METHOD",
        "fourierft": "jtransfer.peft.fourierft:METHOD",
        "fusion": "jtransfer.peft.fusion:METHOD",
        "ia3": "jtransfer.peft.ia3:METHOD",
        "loha": "jtransfer.peft.loha:METHOD",
        "lokr": "jtransfer.peft.lokr:METHOD",
        "lora": "jtransfer.peft.lora:METHOD",
        "lora_fa": "jtransfer.peft.lora_fa:METHOD",
        "oft": "jtransfer.peft.oft:METHOD",
        "parallel": "jtransfer.peft.parallel:METHOD",
        "prefix": "jtransfer.peft.prefix:METHOD",
        "prompt": "jtransfer.peft.prompt:METHOD",
        "randlora": "jtransfer.peft.randlora:METHOD",
        "reft": "jtransfer.peft.reft:METHOD",
        "ssf": "jtransfer.peft.ssf:METHOD",
        "vera": "jtransfer.peft.vera:METHOD",
        "visual_prompt": "jtransfer.peft.visual_prompt:METHOD",
    },
)
_BROUGHT: dict[str, str] = {}  # what the addresses of methods end with → the address


def slot_of(name: str) -> str:
    """Returns the slot of a method, by its name or address; an address is remembered for `method_of`.

    Raises:
      InputError: no such method, or an address that ends as another one.
    """
    load(name)
    if name in METHODS:
        return name
    place, _, slot = name.rpartition(":")
    address = f"{os.path.realpath(os.path.expanduser(place))}:{slot}" if place.endswith(".py") else name
    if slot in METHODS or _BROUGHT.setdefault(slot, address) != address:
        raise InputError(f"adapter {name!r} has the name of another one; rename {slot!r}")
    return slot


def remember(rows: Iterable[Sequence[Any]]) -> None:
    """Makes the methods that a table names by addresses known by their slots, to read adapters of an earlier process.

    Args:
      rows: of a config.

    Raises:
      InputError: as for `slot_of`.
    """
    for row in rows:
        slot_of(row[1])


def load(name: str) -> Method:
    """Returns a method by its name or address."""
    found = METHODS[name]
    if not isinstance(found, Method):
        raise InputError(f"adapter {name!r} is no peft.Method")
    return found


def method_of(slot: str) -> Method:
    """Returns the method of a slot."""
    name = slot.partition(".")[0]
    return load(_BROUGHT.get(name, name))


def is_slot(key: str) -> bool:
    """Returns whether a key of a tree is a slot, of a method of the package or of one that was used before."""
    name = key.partition(".")[0]
    return name in METHODS or name in _BROUGHT


def split(adapters: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields (path of the module, slot, the adapter's own arrays) of all adapters in a tree.

    Raises:
      InputError: an array belongs to no known method.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path, leaf in trees.flatten(adapters).items():
        keys = path.split("/")
        place = next((i for i in reversed(range(len(keys) - 1)) if is_slot(keys[i])), None)
        if place is None:
            raise InputError(f"adapters/{path} belongs to no known adapter; known are {', '.join(METHODS)}")
        own = found.setdefault(("/".join(keys[:place]), keys[place]), {})
        own["/".join(keys[place + 1 :])] = leaf
    for (path, slot), own in found.items():
        yield path, slot, trees.unflatten(own)
