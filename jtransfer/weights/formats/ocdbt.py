"""OCDBT databases, whose trees are measured before TensorStore opens them.

They are measured by hand, because TensorStore unpacks the compressed nodes of a tree without a limit, so that a few
kilobytes of a hostile database would become gigabytes of memory.

The formats: https://google.github.io/tensorstore/kvstore/ocdbt/index.html#storage-format, and RFC 8878 (Zstandard).
"""

import os
import struct
from urllib.parse import unquote

import tensorstore as ts

from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Malformed

MANIFEST = "manifest.ocdbt"
MAGIC = {"manifest": 0x0CDB3A2A, "node": 0x0CDB20DE}
_SMALL = 1 << 20  # bytes of a manifest or of a node above the leaves, unpacked
_NODE = 128 << 20  # bytes of a leaf, unpacked; Orbax splits them at 100 MB
_BLOCK = 128 << 10  # bytes of a Zstandard block, unpacked
_RAW, _REPEATED, _COMPRESSED = range(3)


def check(root: str, limit: int) -> None:
    """Raises `Malformed` if the tree of a database is damaged, or would unpack to more bytes than a limit.

    Args:
      root: the folder of the database.
      limit: the bytes that all nodes of the tree may unpack to.
    """
    for name in os.listdir(root):
        if name.startswith("manifest."):
            manifest = File(os.path.join(root, name))
            _measure(manifest[0 : _SMALL + 1], "manifest", _SMALL)
    base = ts.KvStore.open({"driver": "file", "path": root + "/"}).result()
    versions = ts.ocdbt.dump(base).result()["versions"]
    pending = [(v["root"]["location"], v["root_height"]) for v in versions[-1:] if "root" in v]
    seen = set()
    while pending:
        location, height = pending.pop()
        if location in seen:
            continue
        seen.add(location)
        most = _SMALL if height else min(limit, _NODE)
        limit -= _measure(_node(root, location, most), "node", most)
        if height:
            entries = ts.ocdbt.dump(base, location).result()["entries"]
            pending += [(entry["location"], height - 1) for entry in entries]


def _node(root: str, location: str, most: int) -> bytes:
    """The encoded node at "btreenode:<base>:<path>:<offset>:<length>", of at most so many bytes."""
    _, base, path, start, length = location.split(":")
    path = unquote(base) + unquote(path)
    if os.path.isabs(path) or {"..", "."} & set(path.split("/")):
        raise Malformed(f"has its index in {path!r}, which is not below its folder")
    if int(length) > most:
        raise Malformed(f"has an OCDBT node of {int(length):,} bytes")
    return File(os.path.join(root, path)).read(int(start), int(length))


def _measure(encoded: bytes, kind: str, limit: int) -> int:
    """How many bytes a manifest or a node has unpacked, at most."""
    head = encoded[:14]
    if len(head) < 14 or head[:12] != struct.pack(">I", MAGIC[kind]) + struct.pack("<Q", len(encoded)) or head[12]:
        raise Malformed(f"has an OCDBT {kind} that is damaged")
    size = _unpacked(encoded[14:-4]) if head[13] == 1 else len(encoded)
    if size > limit:
        raise Malformed(f"has an OCDBT {kind} of up to {size:,} bytes in {len(encoded):,}: refused as a bomb")
    return size


def _unpacked(frame: bytes) -> int:
    """The bytes that a Zstandard frame unpacks to, at most: the sum of its blocks; or its window, if that is larger."""
    if len(frame) < 6 or frame[:4] != b"\x28\xb5\x2f\xfd":
        raise Malformed("has an OCDBT node that is not Zstandard, though it says so")
    flags = frame[4]
    single = flags >> 5 & 1
    stated = (single, 2, 4, 8)[flags >> 6]  # bytes of the frame's own statement of its size
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3] + stated
    exponent, mantissa = divmod(frame[5], 8)
    window = int.from_bytes(frame[at - stated : at], "little") if single else (1 << 10 + exponent) // 8 * (8 + mantissa)
    total, last = 0, False
    while not last:
        header = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        total += _BLOCK if kind == _COMPRESSED else size
        at += 3 + (1 if kind == _REPEATED else size)
        if at > len(frame) or kind > _COMPRESSED:
            raise Malformed("has an OCDBT node whose Zstandard frame is damaged")
    return max(total, 0 if window <= 8 * _BLOCK else window)
