"""A file with several networks: which one is read, and how another one is named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.formats import conventions
from jtransfer.weights.formats.lazy import Lazy, Opened, check_total
from jtransfer.weights.formats.wrappers import Network, candidates


def several(found: Mapping[str, Network], format: str, file_size: int, lazy: Callable[[Any], Lazy]) -> Opened:
    """Returns the network of a file that is meant, which knows the others.

    Args:
      found: the file's networks by name.
      format: the reader's name.
      file_size: in bytes.
      lazy: makes a lazy tensor of one that a network has.

    Returns:
      The one network, or the one that a convention prefers; without tensors, if there is none that is preferred.
    """
    opened = {}
    for name, network in found.items():
        tensors = {key: lazy(tensor) for key, tensor in network.tensors.items()}
        check_total(tensors, file_size)
        opened[name] = Opened(tensors, format, network.path, network.left_out)
    possible = candidates(found)
    taken = possible[0] if len(possible) == 1 else conventions.prefer(possible)
    if taken is None:
        return Opened({}, format, networks=opened)
    return replace(opened[taken], networks=opened, notes=conventions.chosen(taken, possible))


def select(opened: Opened, path: str, branch: str) -> tuple[Opened, str]:
    """Returns the network that the beginning of a branch names, or else the one that is meant; and the branch's rest.

    Args:
      opened: the content of a file.
      path: of the file, for errors.
      branch: the sub-tree that is asked for, or "".

    Raises:
      InputError: the branch names none, and there are several that may be meant.
    """
    for name in sorted(opened.networks, key=len, reverse=True):
        if name and f"{branch}/".replace(".", "/").startswith(f"{name}/".replace(".", "/")):
            return opened.networks[name], branch[len(name) + 1 :]
    if not opened and opened.networks:
        names = list(opened.networks)
        shown = ", ".join(repr(name[:60]) for name in names[:8])
        raise InputError(f"{path}: holds several state dicts: {shown}; name one, as {path}:{names[0][:60]}")
    return opened, branch
