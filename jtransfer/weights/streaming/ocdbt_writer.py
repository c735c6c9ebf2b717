"""Writes key-value databases in TensorStore's OCDBT format: all values in a few files, and a tree that says where.

A checkpoint of thousands of arrays is then a handful of files, so that no time is spent on making files, on a disk or
in a bucket. What is written is one version, whose B+tree is one leaf. It is written by hand, so that a value goes to
the disk when it is put, and memory holds the tree alone.

The format: https://google.github.io/tensorstore/kvstore/ocdbt/index.html#storage-format
"""

import itertools
import os
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.weights.formats.ocdbt import MAGIC, MANIFEST

INLINE = 1 << 10  # bytes; values up to this size are in the tree
WRITE = 128 << 10  # bytes handed to the system at once; pages for a few megabytes at once take twice as long to get
KEYS = 1 << 20  # of a leaf, at most
_NODE_BYTES = 8 << 20  # where other writers split a leaf
_ARITY = 4  # bits of the version tree's
Place = tuple[str, int, int] | bytes  # file, offset and length; or the value


@contextmanager
def new(folder: str | os.PathLike) -> Iterator[Callable[[str, Any], None]]:
    """Makes a database in a folder, which is whole once the context is left.

    Args:
      folder: an empty folder.

    Yields:
      A function `put(key, value)`, where a value is bytes or a contiguous array of bytes. Several threads may call it;
      each of them writes a file of its own.

    Raises:
      ValueError: there are no keys, or more than 2^20.
    """
    entries: dict[bytes, Place] = {}
    mine = threading.local()
    os.mkdir(os.path.join(folder, "d"))
    with ExitStack() as files:

        def append(value: Any) -> tuple[str, int, int]:
            if not hasattr(mine, "file"):
                mine.name, mine.end = f"d/{uuid.uuid4().hex}", 0
                mine.file = files.enter_context(open(os.path.join(folder, mine.name), "wb"))
            start, mine.end = mine.end, mine.end + len(value)
            for at in range(0, len(value), WRITE):
                mine.file.write(value[at : at + WRITE])
            return mine.name, start, len(value)

        def put(key: str, value: Any) -> None:
            entries[key.encode()] = bytes(value) if len(value) <= INLINE else append(value)

        yield put
        if not 0 < len(entries) <= KEYS:
            raise ValueError(f"{len(entries):,} keys; one leaf holds 1 to {KEYS:,}")
        root = append(leaf(entries))
    Path(folder, MANIFEST).write_bytes(manifest(root, list(entries.values())))


def leaf(entries: dict[bytes, Place]) -> bytes:
    """Returns the encoded leaf of a B+tree that holds all entries, by key."""
    keys = sorted(entries)
    places = [entries[key] for key in keys]
    far = [place for place in places if isinstance(place, tuple)]
    files = sorted({name for name, *_ in far})
    shared = [_shared(a, b) for a, b in itertools.pairwise(keys)]
    suffixes = [key[n:] for key, n in zip(keys, [0, *shared], strict=True)]
    lengths = [place[2] if isinstance(place, tuple) else len(place) for place in places]
    columns = (
        *shared,
        *map(len, suffixes),
        b"".join(suffixes),
        *lengths,
        *(int(isinstance(place, tuple)) for place in places),
        *(files.index(name) for name, *_ in far),
        *(start for _, start, _ in far),
        b"".join(place for place in places if isinstance(place, bytes)),
    )
    return framed("node", b"\0" + _encode(*_files(files), len(keys), *columns))


def manifest(root: tuple[str, int, int], places: Sequence[Place]) -> bytes:
    """Returns the encoded manifest, which says how the database is configured and where its root is.

    Args:
      root: file, offset and length of the root node.
      places: of all values.
    """
    name, start, size = root
    far = sum(place[2] for place in places if isinstance(place, tuple))
    config = _encode(uuid.uuid4().bytes, 0, INLINE, _NODE_BYTES, bytes([_ARITY]), 0)
    version = _encode(1, 1, b"\0", 0, start, size, len(places), size, far, struct.pack("<Q", time.time_ns()))
    return framed("manifest", config + _encode(*_files([name])) + version + _encode(0))


def _shared(a: bytes, b: bytes) -> int:
    """How many bytes two keys begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _files(names: Sequence[str]) -> Iterator[Any]:
    """A table of data files, whose paths share nothing and have no base."""
    yield from (len(names), *(0 for _ in names[1:]), *map(len, names), *(0 for _ in names), "".join(names).encode())


def framed(kind: str, body: bytes) -> bytes:
    """Returns a manifest or a node with its header, which says version 0 and no compression, and its checksum.

    Args:
      kind: "manifest" or "node".
      body: its content.
    """
    framed = struct.pack(">I", MAGIC[kind]) + struct.pack("<Q", len(body) + 18) + b"\0\0" + body
    return framed + struct.pack("<I", crc32c(framed))


def _encode(*values: int | bytes) -> bytes:
    """Numbers as unsigned LEB128; bytes as they are."""
    return b"".join(value if isinstance(value, bytes) else _varint(value) for value in values)


def _varint(value: int) -> bytes:
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def _table() -> list[int]:
    """CRC-32C of each byte (Castagnoli's polynomial, bits reversed)."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(0x82F63B78), crc >> 1)
    return crc.tolist()


_CRC = _table()


def crc32c(content: bytes) -> int:
    """Returns the CRC-32C checksum of bytes (RFC 3720, B.4)."""
    crc, table = 0xFFFFFFFF, _CRC
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
