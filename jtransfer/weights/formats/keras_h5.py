"""Keras's HDF5 weights (`.weights.h5`, whole-model `.h5`) and the `.keras` archive around them, through h5py.

Only hard links to plain numeric datasets are followed: no external or soft link, no external or virtual storage, no
filter beyond gzip, shuffle and checksum. Configurations are never looked at. Contiguous arrays are mapped.
"""

import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import h5py
import numpy as np

from jtransfer.weights.formats import zips
from jtransfer.weights.formats.dtypes import BY_NAME
from jtransfer.weights.formats.files import File, typed
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened, check_shape, check_total

MAGIC = b"\x89HDF\r\n\x1a\n"
WEIGHTS = "model.weights.h5"
_OPTIMIZER = ("optimizer", "optimizer_weights", "_optimizer")
_MAX_OBJECTS = 200_000
_MAX_DEPTH = 64
_MAX_UNPACKED = 1 << 32
_CHECKSUM = 4  # bytes
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def is_keras(names: dict[str, zips.Member]) -> bool:
    """Returns whether the members of a zip archive are those of a `.keras` file."""
    return WEIGHTS in names


def read_archive(file: File, members: dict[str, zips.Member]) -> Opened:
    """Opens the weights in a `.keras` archive. Raises `Malformed` if they are damaged or unpack to too many bytes."""
    member = members[WEIGHTS]
    if member.stored:
        return read(file, member.start, member.length)
    if member.size > 64 * member.length + 2**26:
        raise Malformed(f"{WEIGHTS} has {member.length:,} bytes and unpacks to {member.size:,}: refused as a bomb")
    content = zips.unpack(file, member, _MAX_UNPACKED)
    with _damage():
        return _opened(file, h5py.File(io.BytesIO(content), "r"), len(content), None)


def read(file: File, start: int = 0, length: int | None = None) -> Opened:
    """Opens the weights of an HDF5 file, which may be a part of another file.

    Args:
      file: the file.
      start: where the HDF5 file begins in it.
      length: the bytes of the HDF5 file; by default, all of the file.

    Raises:
      Malformed: it is damaged, or has links, storage or filters that are not read.
    """
    length = file.size if length is None else length
    stream = io.BufferedReader(_Range(file, start, length))
    with _damage():
        return _opened(file, h5py.File(stream, "r"), length, start)


def _opened(file: File, h5: h5py.File, size: int, start: int | None) -> Opened:
    datasets: dict[str, h5py.Dataset] = {}
    _collect(h5, "", datasets, set(), 0)
    left_out = [name for name in datasets if name.split("/")[0] in _OPTIMIZER or not _numeric(datasets[name])]
    tensors = {name: _lazy(file, d, name, size, start) for name, d in datasets.items() if name not in left_out}
    root = "model_weights/"
    alone = bool(tensors) and all(name.startswith(root) for name in tensors)
    tensors = {name.removeprefix(root) if alone else name: tensor for name, tensor in tensors.items()}
    check_total(tensors, file.size)
    return Opened(tensors, "keras_h5", (root,) if alone else (), tuple(left_out))


def _collect(group: h5py.Group, prefix: str, datasets: dict, seen: set[int], depth: int) -> None:
    """Every dataset below a group; each object may be reached by one path."""
    if depth > _MAX_DEPTH:
        raise Malformed(f"HDF5 groups are nested over {_MAX_DEPTH} deep")
    for name in group:
        link = group.get(name, getlink=True)
        path = f"{prefix}{name}"
        if not isinstance(link, h5py.HardLink):
            raise Malformed(f"{path!r} is a {type(link).__name__}; links are refused")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr  # pyright: ignore[reportAttributeAccessIssue]
        if address in seen or len(seen) >= _MAX_OBJECTS:
            raise Malformed(f"{path!r} is reached by two paths, or there are over {_MAX_OBJECTS:,} objects")
        seen.add(address)
        if isinstance(item, h5py.Group):
            _collect(item, path + "/", datasets, seen, depth + 1)
        elif isinstance(item, h5py.Dataset):
            datasets[path] = item


def _numeric(dataset: h5py.Dataset) -> bool:
    return dataset.dtype.newbyteorder("=").name in BY_NAME and dataset.shape is not None


def _lazy(file: File, dataset: h5py.Dataset, name: str, size: int, start: int | None) -> Lazy:
    stored, dtype = dataset.dtype, dataset.dtype.newbyteorder("=")
    shape = tuple(int(n) for n in dataset.shape)
    check_shape(shape, dtype.itemsize, name)
    length = math.prod(shape) * dtype.itemsize
    _check_storage(dataset, name, length, size)
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    if start is not None and offset is not None:
        if dataset.id.get_storage_size() != length or offset + length > size:
            raise Malformed(f"dataset {name!r} reaches outside of the file")
        place = start + offset
        return Lazy(shape, dtype, lambda: typed(file.map(place, length), dtype, not stored.isnative).reshape(shape))

    def fetch() -> np.ndarray:
        with _damage():
            _check_chunks(dataset, name)
            return np.asarray(dataset[()], dtype)

    return Lazy(shape, dtype, fetch)


def _check_storage(dataset: h5py.Dataset, name: str, length: int, size: int) -> None:
    if dataset.is_virtual or dataset.external:
        raise Malformed(f"dataset {name!r} takes its numbers from other files; refused")
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if set(codes) - _FILTERS or len(set(codes)) < len(codes):
        raise Malformed(f"dataset {name!r} uses the filters {sorted(codes)}; gzip, shuffle and checksum are read, once")
    stored = dataset.id.get_storage_size()
    if stored > size or length > 1100 * stored + (1 << 16):
        raise Malformed(f"dataset {name!r} declares {length:,} bytes and stores {stored:,}: refused as a bomb")
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > 2 * length + (1 << 20):
        raise Malformed(f"dataset {name!r} has chunks larger than itself")


def _check_chunks(dataset: h5py.Dataset, name: str) -> None:
    """HDF5 unpacks a chunk however large it becomes; none may become larger than it should."""
    plist = dataset.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if dataset.chunks is None or h5py.h5z.FILTER_DEFLATE not in codes:
        return
    bit = 1 << codes.index(h5py.h5z.FILTER_DEFLATE)
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + _CHECKSUM
    for i in range(dataset.id.get_num_chunks()):
        skipped, packed = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(i).chunk_offset)
        if not skipped & bit and len(zlib.decompressobj().decompress(packed, most + 1)) > most:
            raise Malformed(f"dataset {name!r} has a chunk that unpacks to over {most:,} bytes: refused as a bomb")


class _Range(io.RawIOBase):
    """A part of a file as a stream."""

    def __init__(self, file: File, start: int, length: int):
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._length)[whence])
        return self._at

    def readinto(self, buffer) -> int:
        n = max(0, min(len(buffer), self._length - self._at))
        buffer[:n] = self._file.read(self._start + self._at, n)
        self._at += n
        return n


@contextmanager
def _damage() -> Iterator[None]:
    """h5py reports damage by almost any exception."""
    try:
        yield
    except (Malformed, KeyboardInterrupt):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Malformed(f"HDF5 is damaged: {reason[0][:200]}") from None
