"""Orbax checkpoint folders, through their JSON metadata and TensorStore; nothing of the saved tree's types is made."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorstore as ts

from jtransfer.weights.formats import json_header, ocdbt, zarr
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_total
from jtransfer.weights.formats.wrappers import unwrap_paths

METADATA = "_METADATA"
_ITEMS = ("state", "pytree", "params", "default", "model")
_NOT_ARRAYS = ("None", "string", "Dict", "List", "Tuple", "Unknown")
_MAX_FILES = 1_000_000
_POOL = "cache_pool#ocdbt"  # keeps the index unpacked, not the arrays
_CACHED = 128 << 20  # bytes of it


def item(folder: str) -> str | None:
    """Where the tree is inside `folder`: ".", an item's name, or a path below the last step; None if nowhere."""
    if os.path.isfile(os.path.join(folder, METADATA)):
        return "."
    names = [name for name in _ITEMS if os.path.isfile(os.path.join(folder, name, METADATA))]
    if names:
        return names[0]
    steps = sorted((name for name in os.listdir(folder) if name.isdecimal()), key=int, reverse=True)
    inside = [(step, item(os.path.join(folder, step))) for step in steps[:1]]
    return next((os.path.join(step, found) for step, found in inside if found), None)


def read(folder: str) -> Opened:
    """The arrays of an Orbax checkpoint by path."""
    inside = item(folder)
    root = os.path.abspath(os.path.join(folder, inside))
    file = File(os.path.join(root, METADATA))
    header = json_header.parse(file.read(0, file.size))
    entries, left_out = _entries(header)
    size = _size(root)
    with _damage("the index"):
        store = _open_store(root, header, size)
    tensors = {name: _lazy(store, name, key, header) for name, key in entries.items()}
    check_total(tensors, size)
    tensors, unwrapped, beside = unwrap_paths(tensors)
    outer = () if inside == "." else (inside.removesuffix("/.") + "/",)
    return Opened(tensors, "orbax", (*outer, *unwrapped), (*left_out, *beside))


def _entries(header: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Path → the array's key in the store; and the paths of what is no array."""
    tree = header.get("tree_metadata")
    if not isinstance(tree, dict):
        raise Malformed("Orbax metadata has no tree_metadata")
    arrays, left_out = {}, []
    for entry in tree.values():
        match entry:
            case {"key_metadata": list(keys), "value_metadata": {"value_type": str(kind), **value}}:
                names = [_key(key) for key in keys]
            case _:
                raise Malformed("Orbax metadata has an entry without key_metadata and value_metadata")
        path = "/".join(names)
        if path in arrays:
            raise Malformed(f"Orbax metadata has two arrays of the path {path!r}")
        if value.get("skip_deserialize") or kind in _NOT_ARRAYS:
            left_out.append(path)
        else:
            arrays[path] = ".".join(names)
    return arrays, left_out


def _key(key: Any) -> str:
    match key:
        case {"key": str(name)} if name not in ("", ".", "..") and not set(name) & set("/\\\0"):
            return name
    raise Malformed(f"Orbax metadata has the key {json.dumps(key)[:100]}, which is not a plain name")


def _open_store(root: str, header: dict[str, Any], size: int) -> ts.KvStore:
    """The files of a checkpoint, or the values in its database, by key."""
    spec: dict[str, Any] = {"driver": "file", "path": root + "/"}
    if header.get("use_ocdbt", os.path.isfile(os.path.join(root, ocdbt.MANIFEST))):
        ocdbt.check(root, 64 * size + 2**24)
        spec = {"driver": "ocdbt", "base": spec, "cache_pool": _POOL}
    return ts.KvStore.open(spec, context=ts.Context({_POOL: {"total_bytes_limit": _CACHED}})).result()


def _lazy(store: ts.KvStore, name: str, key: str, header: dict[str, Any]) -> Lazy:
    version = 3 if header.get("use_zarr3") else 2
    with _damage(f"array {name!r}"):
        text = store.read(f"{key}/{zarr.FILES[version]}").result()
    if text.state != "value":
        raise Malformed(f"array {name!r} is not in the checkpoint")
    shape, dtype = zarr.describe(text.value, version, name)

    def window(index: Any) -> np.ndarray:
        spec = {"driver": "zarr" if version == 2 else "zarr3"}
        with _damage(f"array {name!r}"):
            array = ts.open(spec, kvstore=store / f"{key}/", open=True, read=True).result()
            if tuple(array.shape) != shape or array.dtype.name != dtype.name:
                raise Malformed("has changed since it was opened; open it again")
            return np.asarray(array[index].read().result(), dtype)

    return Lazy(shape, dtype, lambda: window(...), window)


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """TensorStore reports damage by several types."""
    try:
        yield
    except (Malformed, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise Malformed(f"{what} is damaged: {reason}") from None


def _size(root: str) -> int:
    """The bytes of all files below a folder."""
    total, count = 0, 0
    for folder, folders, names in os.walk(root):
        count += len(names) + len(folders)
        if count > _MAX_FILES:
            raise Malformed(f"has over {_MAX_FILES:,} files")
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return total
