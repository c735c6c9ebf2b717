"""Orbax checkpoint folders, through their JSON metadata and TensorStore; nothing of the saved tree's types is made."""

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from jtransfer.weights.formats import json_header, ocdbt, zarr
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_total
from jtransfer.weights.formats.wrappers import unwrap_paths

METADATA = "_METADATA"
ITEMS = ("state", "pytree", "params", "default", "model")
_NOT_ARRAYS = ("None", "string", "Dict", "List", "Tuple", "Unknown")
_MAX_FILES = 1_000_000
_MAX_HOLES = 10_000  # in a file
_LARGE = 1 << 20  # bytes of a file in which holes are looked for
_POOL = "cache_pool#ocdbt"  # keeps the index unpacked, not the arrays
_CACHED = 128 << 20  # bytes of it
_UNPACKED = 256 << 20  # bytes of chunks of arrays that are kept unpacked, of checkpoints of one's own


def item(folder: str) -> str | None:
    """Returns where the tree lies in a folder: ".", an item's name, or a path below the last step; None if nowhere."""
    if os.path.isfile(os.path.join(folder, METADATA)):
        return "."
    names = [name for name in ITEMS if os.path.isfile(os.path.join(folder, name, METADATA))]
    if names:
        return names[0]
    steps = sorted((name for name in os.listdir(folder) if name.isdecimal()), key=int, reverse=True)
    inside = [(step, item(os.path.join(folder, step))) for step in steps[:1]]
    return next((os.path.join(step, place) for step, place in inside if place), None)


def read(folder: str) -> Opened:
    """Opens the arrays of an Orbax checkpoint in a local folder, checked before TensorStore sees them."""
    inside = item(folder) or "."
    context = ts.Context({_POOL: {"total_bytes_limit": _CACHED}})
    tensors, left_out, size = _checked(os.path.abspath(os.path.join(folder, inside)), context)
    check_total(tensors, size)
    tensors, unwrapped, beside = unwrap_paths(tensors)
    outer = () if inside == "." else (inside.removesuffix("/.") + "/",)
    return Opened(tensors, "orbax", (*outer, *unwrapped), (*left_out, *beside))


def read_own(root: str, most: int | None = None) -> Opened:
    """Opens the arrays of one tree of an Orbax checkpoint, by their whole paths; a local one is checked as by `read`.

    A chunk that is unpacked is kept for a while, so that devices which read parts of the same chunk do not unpack it
    again.

    Args:
      root: the folder of the tree, local or an address such as `gs://bucket/path`.
      most: the bytes that all arrays together may have, where that is known; otherwise a multiple of those of the
        files of a local folder.
    """
    pools = ts.Context({_POOL: {"total_bytes_limit": _CACHED}, "cache_pool": {"total_bytes_limit": _UNPACKED}})
    if "://" in root:
        header = json_header.parse((epath.Path(root) / METADATA).read_bytes())
        entries, left_out = _entries(header)
        in_database = header.get("use_ocdbt", (epath.Path(root) / ocdbt.MANIFEST).exists())
        return Opened(
            _arrays(root.rstrip("/") + "/", in_database, header, entries, pools), "orbax", (), tuple(left_out)
        )
    root = os.path.abspath(root)
    if os.path.islink(root):
        raise Malformed("is a link in place of a folder")
    _check_links(root)
    tensors, left_out, size = _checked(root, pools)
    if most is None:
        check_total(tensors, size)
    elif (total := sum(tensor.nbytes for tensor in tensors.values())) > most:
        raise Malformed(f"tensors declare {total:,} bytes, where {most:,} are expected")
    return Opened(tensors, "orbax", (), left_out)


def _checked(root: str, context: ts.Context) -> tuple[dict[str, Lazy], tuple[str, ...], int]:
    """The arrays of a tree in a local folder by path, what is no array, and the bytes of all files."""
    file = File(os.path.join(root, METADATA))
    header = json_header.read_file(file)
    entries, left_out = _entries(header)
    size = _size(root)
    in_database = header.get("use_ocdbt", os.path.isfile(os.path.join(root, ocdbt.MANIFEST)))
    if in_database:
        ocdbt.check(root, 64 * size + 2**24)
    base = {"driver": "file", "path": root + "/"}
    return _arrays(base, in_database, header, entries, context), tuple(left_out), size


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


def _arrays(
    base: str | dict[str, str], in_database: bool, header: dict[str, Any], entries: dict[str, str], context: ts.Context
) -> dict[str, Lazy]:
    """The arrays by path, in the files below `base` or in the database that lies there."""
    spec = {"driver": "ocdbt", "base": base, "cache_pool": _POOL} if in_database else base
    with _damage("the index"):
        store = ts.KvStore.open(spec, context=context).result()
    version = 3 if header.get("use_zarr3") else 2
    return {name: _lazy(store, name, key, version, context) for name, key in entries.items()}


def _lazy(store: ts.KvStore, name: str, key: str, version: int, context: ts.Context) -> Lazy:
    with _damage(f"array {name!r}"):
        text = store.read(f"{key}/{zarr.FILES[version]}").result()
    if text.state != "value":
        raise Malformed(f"array {name!r} is not in the checkpoint")
    shape, dtype = zarr.describe(text.value, version, name)

    def window(index: Any) -> np.ndarray:
        spec = {"driver": "zarr" if version == 2 else "zarr3"}
        with _damage(f"array {name!r}"):
            array = ts.open(spec, kvstore=store / f"{key}/", open=True, read=True, context=context).result()
            if tuple(array.shape) != shape or array.dtype.name != dtype.name:
                raise Malformed("has changed since it was opened; open it again")
            return np.asarray(array[index].read().result(), dtype)

    return Lazy(shape, dtype, lambda: window(...), window)


@contextlib.contextmanager
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
    """The bytes of all files below a folder.

    Raises:
      Malformed: something there is no regular file, such as a pipe, which would be waited for; or they are too many.
    """
    total, count = 0, 0
    for folder, folders, names in os.walk(root):
        count += len(names) + len(folders)
        if count > _MAX_FILES:
            raise Malformed(f"has over {_MAX_FILES:,} files")
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                raise Malformed(f"has the link {name!r} in place of a folder")
        total += sum(_regular(os.path.join(folder, name)) for name in names)
    return total


def _check_links(root: str) -> None:
    """Raises `Malformed` if a link below a folder leads out of it."""
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not _is_below(os.path.realpath(path), os.path.realpath(root)):
                raise Malformed(f"has the link {name!r}, which leads out of it")


def _is_below(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root


def _regular(path: str) -> int:
    """The bytes of a file, without the holes of a large one, which are nowhere."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise Malformed(f"has {os.path.basename(path)!r}, which is not a regular file")
    return status.st_size if status.st_size < _LARGE else _stored(path, status.st_size)


def _stored(path: str, size: int) -> int:
    held, at = 0, 0
    with open(path, "rb") as file, contextlib.suppress(OSError):  # there is no more, or it is not known of holes
        for _ in range(_MAX_HOLES):
            start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            held += at - start
        return size
    return held
