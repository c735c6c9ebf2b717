"""Files of torch.save before torch 1.6: five pickles in a row, then the size and the numbers of each storage."""

from typing import Any

from jtransfer.weights.formats import torch_pickle
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened
from jtransfer.weights.formats.networks import several
from jtransfer.weights.formats.pickles import load
from jtransfer.weights.formats.wrappers import networks

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def is_legacy(head: bytes) -> bool:
    """Returns whether the first bytes of a file are the pickled magic number of such files."""
    return head[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in head[:32]


def read(file: File) -> Opened:
    """Opens the state dict of such a file. Raises `Malformed` if it is damaged or hostile."""
    used: dict[str, torch_pickle.Storage] = {}

    def persistent(identity: Any) -> torch_pickle.Storage:
        storage = torch_pickle.storage(identity)
        first = used.setdefault(storage.key, storage)
        if (first.dtype, first.total) != (storage.dtype, storage.total):
            raise Malformed(f"storage {storage.key!r} is described in two ways")
        return storage

    magic, at = load(file, 0, {}, _refuse)
    protocol, at = load(file, at, {}, _refuse)
    if (magic, protocol) != (MAGIC, PROTOCOL):
        raise Malformed("has another magic number or protocol than torch.save's")
    system, at = load(file, at, {}, _refuse)
    content, at = load(file, at, torch_pickle.GLOBALS, persistent)
    keys, at = load(file, at, {}, _refuse)
    places = _places(file, at, keys, used)
    found = networks(content, torch_pickle.Tensor)
    swapped = isinstance(system, dict) and system.get("little_endian") is False

    def lazy(tensor: torch_pickle.Tensor) -> Lazy:
        return torch_pickle.lazy(file, tensor, *places[tensor.storage.key], swapped)

    return several(found, "torch_legacy", file.size, lazy)


def _refuse(identity: Any) -> None:
    raise Malformed("pickle has a persistent id where none belongs")


def _places(file: File, at: int, keys: Any, used: dict[str, torch_pickle.Storage]) -> dict[str, tuple[int, int]]:
    """Where each storage's numbers are: (start, bytes)."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(used):
        raise Malformed("the list of storages does not match the storages that are used")
    if len(keys) != len(used):
        raise Malformed("the list of storages names one twice")
    places = {}
    for key in keys:
        count = int.from_bytes(file.read(at, 8), "little", signed=True)
        length = used[key].total_bytes
        if count != used[key].total:
            raise Malformed(f"storage {key!r} should have {used[key].total:,} elements, its data has {count:,}")
        if at + 8 + length > file.size:
            raise Malformed(f"ends early: storage {key!r} needs {length:,} bytes at {at + 8:,} of {file.size:,}")
        places[key] = at + 8, length
        at += 8 + length
    if at != file.size:
        raise Malformed(f"has {file.size - at:,} bytes after its last storage")
    return places
