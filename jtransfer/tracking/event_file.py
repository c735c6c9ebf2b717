"""TensorBoard's event files: records of Protocol Buffers' messages, each with checksums.

A record is the length of its message as a uint64, a checksum of these eight bytes, the message, and a checksum of it.
Only the fields that a run writes are known here: `Event` has wall_time 1, step 2, file_version 3, summary 5 and
session_log 7; `Summary` has value 1, of tag 1 and simple_value 2; `SessionLog` has status 1, where 1 is START.
"""

import os
import socket
import struct
import time
from typing import BinaryIO

_POLYNOMIAL = 0x82F63B78  # of CRC-32C, reflected
_START = bytes([1 << 3, 1])


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def name(start_step: int) -> str:
    """Returns the name of a new event file of this process, of a run that begins at a step."""
    return f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.{start_step}"


class Writer:
    """Writes scalars into a new event file.

    Args:
      file: open for writing bytes; `close` closes it.
      purge_step: TensorBoard hides what earlier files have of this step and later ones.
    """

    def __init__(self, file: BinaryIO, purge_step: int):
        self._file = file
        self._write(0, _bytes(3, b"brain.Event:2"))
        self._write(purge_step, _bytes(7, _START))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes one number under a tag."""
        number = bytes([2 << 3 | 5]) + struct.pack("<f", _float32(value))
        self._write(step, _bytes(5, _bytes(1, _bytes(1, tag.encode()) + number)))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, step: int, content: bytes) -> None:
        message = b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + content
        length = struct.pack("<Q", len(message))
        self._file.write(length + _checksum(length) + message + _checksum(message))
        self._file.flush()


def _float32(value: float) -> float:
    """The number, or an infinity where float32 holds none as large."""
    return value if not abs(value) > 3.4028235e38 else float("inf") * (1 if value > 0 else -1)


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C of a record's part."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
