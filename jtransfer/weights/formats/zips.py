"""The members of a zip archive, checked before anything is unpacked.

The directory must agree with the local headers, members may not overlap, and none may unpack to far more bytes than it
has. It is read by hand, after PKWARE's APPNOTE, because Python's `zipfile` checks none of these and does not tell where
a member's bytes begin, which are mapped.
"""

import struct
import zlib
from dataclasses import dataclass

from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Malformed

_MAX_MEMBERS = 1 << 18
_STORED, _DEFLATED = 0, 8
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a zip archive.

    Attributes:
      name: its name.
      header: where its local header begins in the archive.
      start: where its stored bytes begin.
      length: how many stored bytes there are.
      size: how many bytes they unpack to.
      method: the method of compression: 0 for none, 8 for deflate.
      crc: the CRC-32 of its content.
    """

    name: str
    header: int
    start: int
    length: int
    size: int
    method: int
    crc: int

    @property
    def stored(self) -> bool:
        """Whether its bytes are stored as they are."""
        return self.method == _STORED


def members(file: File) -> dict[str, Member]:
    """Returns the members of an archive by name; only the directory and the local headers are read.

    Raises:
      Malformed: the archive is damaged or hostile.
    """
    count, size, offset = _directory(file)
    raw, at, by_name = file.read(offset, size), 0, {}
    for _ in range(count):
        if at + _CENTRAL.size > size:
            raise Malformed("zip directory ends early")
        member, at = _entry(file, raw, at, offset)
        if member.name in by_name:
            raise Malformed(f"zip archive has two members named {member.name!r}")
        by_name[member.name] = member
    end = 0
    for member in sorted(by_name.values(), key=lambda m: m.header):
        if member.header < end:
            raise Malformed(f"zip member {member.name!r} overlaps another")
        end = member.start + member.length
    return by_name


def unpack(file: File, member: Member, limit: int) -> bytes:
    """Returns the content of a member. Raises `Malformed` if it is damaged or has more than `limit` bytes."""
    if member.size > limit:
        raise Malformed(f"zip member {member.name!r} unpacks to {member.size:,} bytes; at most {limit:,} are read")
    packed = file.read(member.start, member.length)
    if member.stored:
        return packed
    stream = zlib.decompressobj(-15)
    try:
        content = stream.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise Malformed(f"zip member {member.name!r} is damaged: {error}") from None
    if len(content) != member.size or not stream.eof or zlib.crc32(content) != member.crc:
        raise Malformed(f"zip member {member.name!r} is damaged: its size or checksum is not as declared")
    return content


def head(file: File, member: Member, length: int) -> bytes:
    """Returns the first `length` bytes of a member's content, or all of it if it is shorter."""
    packed = file.read(member.start, min(member.length, 2 * length))
    if member.stored:
        return packed[:length]
    try:
        return zlib.decompressobj(-15).decompress(packed, length)
    except zlib.error as error:
        raise Malformed(f"zip member {member.name!r} is damaged: {error}") from None


def _directory(file: File) -> tuple[int, int, int]:
    """(entries, bytes, offset) of the central directory, from the end records."""
    tail_start = max(0, file.size - _END.size - 0xFFFF)
    tail = file.read(tail_start, file.size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise Malformed("zip archive has no end record: it is cut off")
    _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if end + _END.size + comment != file.size:
        raise Malformed("zip archive has bytes after its end record")
    if (disk, first) not in ((0, 0), (0xFFFF, 0xFFFF)) or here != count:
        raise Malformed("zip archive is split over several files")
    if end >= 20 and file.read(end - 20, 4) == b"PK\x06\x07":
        count, size, offset, end = _directory64(file, end)
    if offset + size != end or count * _CENTRAL.size > size:
        raise Malformed("zip directory is not where the end record says")
    if count > _MAX_MEMBERS:
        raise Malformed(f"zip archive has {count:,} members; at most {_MAX_MEMBERS:,} are read")
    return count, size, offset


def _directory64(file: File, end: int) -> tuple[int, int, int, int]:
    _, _, at, _ = struct.unpack("<4sIQI", file.read(end - 20, 20))
    if at + _END64.size > end:
        raise Malformed("zip archive has no zip64 record")
    signature, length, _, _, disk, first, here, count, size, offset = _END64.unpack(file.read(at, _END64.size))
    if signature != b"PK\x06\x06" or at + 12 + length != end - 20:
        raise Malformed("zip archive has no zip64 record")
    if disk or first or here != count:
        raise Malformed("zip archive is split over several files")
    return count, size, offset, at


def _entry(file: File, raw: bytes, at: int, directory: int) -> tuple[Member, int]:
    """The member that the directory's entry at `at` describes, and where the next entry is."""
    fields = _CENTRAL.unpack_from(raw, at)
    signature, _, _, flags, method, _, _, crc, length, size, names, extras, comments, _, _, _, header = fields
    end = at + _CENTRAL.size + names + extras + comments
    if signature != b"PK\x01\x02" or end > len(raw):
        raise Malformed("zip directory is damaged")
    at += _CENTRAL.size
    raw_name, extra = raw[at : at + names], raw[at + names : at + names + extras]
    size, length, header = _sizes64(extra, size, length, header)
    name = _text(raw_name, flags)
    if flags & 0x2041:
        raise Malformed(f"zip member {name!r} is encrypted")
    if method not in (_STORED, _DEFLATED):
        raise Malformed(f"zip member {name!r} uses compression method {method}; stored and deflated are read")
    start = _local(file, header, directory, (raw_name, flags, method, crc, length, size))
    if start + length > directory:
        raise Malformed(f"zip member {name!r} reaches beyond the archive's data")
    if (method == _STORED and length != size) or size > 1100 * length + 64:
        raise Malformed(f"zip member {name!r} declares {size:,} bytes for {length:,} stored ones")
    return Member(name, header, start, length, size, method, crc), end


def _text(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise Malformed("zip archive has a member whose name is not UTF-8") from None


def _sizes64(extra: bytes, *values: int) -> tuple[int, ...]:
    """Replaces each 0xFFFFFFFF by the next number of the zip64 field of `extra`."""
    wide = _field64(extra)
    result = []
    for value in values:
        if value == 0xFFFFFFFF and len(wide) >= 8:
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        result.append(value)
    return tuple(result)


def _field64(extra: bytes) -> bytes:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _local(file: File, header: int, directory: int, central: tuple[bytes, int, int, int, int, int]) -> int:
    """Where a member's data starts; its local header must say what the directory says."""
    name, flags, method, crc, length, size = central
    shown = _text(name, flags)
    if header + _LOCAL.size > directory:
        raise Malformed(f"zip member {shown!r} lies outside the archive")
    fields = _LOCAL.unpack(file.read(header, _LOCAL.size))
    signature, _, local_flags, local_method, _, _, local_crc, local_length, local_size, names, extras = fields
    start = header + _LOCAL.size + names + extras
    if signature != b"PK\x03\x04" or start > directory:
        raise Malformed(f"zip member {shown!r} has no local header")
    rest = file.read(header + _LOCAL.size, names + extras)
    local_size, local_length = _sizes64(rest[names:], local_size, local_length)
    later = bool(flags & 8) and (local_crc, local_length, local_size) == (0, 0, 0)
    same = (local_crc, local_length, local_size) == (crc, length, size)
    if rest[:names] != name or (local_flags ^ flags) & ~0x0006 or local_method != method or not (later or same):
        raise Malformed(f"zip member {shown!r} is described differently by its local header and the directory")
    return start
