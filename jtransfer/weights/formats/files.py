"""The bytes of a file: reads and read-only maps of ranges, every one of which is checked to lie in the file."""

import mmap
import os
import stat
import weakref
from typing import Literal, Protocol

import numpy as np

from jtransfer.weights.formats.lazy import Malformed

_COPY_BELOW = 1 << 20  # smaller ranges are copied: a process may hold only about 65,000 maps


class File:
    """An open regular file. Tensors over the same range of it are views of one array, for as long as one is alive."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise Malformed("is not a regular file")
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise Malformed(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
        weakref.finalize(self, os.close, self._fd)
        self._identity = self._stat()
        self.size = self._identity[0]
        self._alive: weakref.WeakValueDictionary[tuple[int, int], np.ndarray] = weakref.WeakValueDictionary()

    def _stat(self) -> tuple[int, int]:
        status = os.fstat(self._fd)
        return status.st_size, status.st_mtime_ns

    def read(self, start: int, length: int) -> bytes:
        """Returns `length` bytes from position `start`. Raises `Malformed` if the file ends before."""
        if start < 0 or length < 0 or start + length > self.size:
            raise Malformed(f"ends early: {length:,} bytes are needed at {start:,}, the file has {self.size:,}")
        parts = []
        while length:
            part = os.pread(self._fd, min(length, 1 << 30), start)
            if not part:
                raise Malformed("ends early: it became shorter while it was read")
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return b"".join(parts)

    def map(self, start: int, length: int) -> np.ndarray:
        """Returns a range, which was checked before, as a read-only uint8 array [length]; a large one is mapped."""
        if self._stat() != self._identity:
            raise Malformed("has changed since it was opened; open it again")
        array = self._alive.get((start, length))
        if array is None:
            array = self._alive[start, length] = self._fresh(start, length)
        return array

    def _fresh(self, start: int, length: int) -> np.ndarray:
        if length < _COPY_BELOW:
            return np.frombuffer(self.read(start, length), np.uint8)
        skip = start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._fd, length + skip, access=mmap.ACCESS_READ, offset=start - skip)
        return np.frombuffer(mapped, np.uint8, length, skip)

    def __getitem__(self, window: slice) -> bytes:
        """Returns the bytes of a slice, which is clipped at the end of the file as slices of `bytes` are."""
        start = min(window.start, self.size)
        return self.read(start, min(window.stop, self.size) - start)


class Buffer(Protocol):
    """Something that gives the bytes of a slice, clipped at its end."""

    def __getitem__(self, window: slice, /) -> bytes: ...


class Window:
    """Reads on from a position: `chunk` bytes of the buffer at a time, and at most `limit` bytes in all."""

    def __init__(self, data: Buffer, start: int, *, limit: int = 2**62, chunk: int = 1 << 16):
        self._data, self._base, self._at = data, start, 0
        self._end, self._size = start + limit, chunk
        self._chunk = b""

    @property
    def position(self) -> int:
        """The position of the next byte in the buffer."""
        return self._base + self._at

    def take(self, n: int) -> bytes:
        """Returns the next `n` bytes. Raises `Malformed` if there are fewer, or the limit is passed."""
        end = self._at + n
        if end > len(self._chunk):
            self._refill(n)
            end = n
        piece = self._chunk[self._at : end]
        self._at = end
        return piece

    def skip(self, n: int) -> None:
        """Goes on by `n` bytes without reading them."""
        self._at += n

    def _refill(self, n: int) -> None:
        base = self.position
        if base + n > self._end:
            raise Malformed("is longer than a file of its kind can be")
        self._chunk = self._data[base : base + max(n, self._size)]
        self._base, self._at = base, 0
        if len(self._chunk) < n:
            raise Malformed(f"ends early: {n:,} bytes are missing at {base:,}")

    def integer(self, n: int, *, signed: bool = False, order: Literal["little", "big"] = "little") -> int:
        """Returns the next `n` bytes as an integer, in the byte order "little" or "big"."""
        return int.from_bytes(self.take(n), order, signed=signed)


def typed(raw: np.ndarray, dtype: np.dtype, swapped: bool = False) -> np.ndarray:
    """Returns bytes, uint8 [n · itemsize], as numbers [n]: a view, or a copy of bools and of swapped bytes.

    Args:
      raw: the bytes.
      dtype: of the numbers.
      swapped: whether the bytes are in the order that this machine does not have.
    """
    if dtype == np.bool_:
        return raw != 0
    if swapped:
        part = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
        raw = raw.view(f"u{part}").byteswap()
    return raw.view(dtype)
