"""What the reader of every format returns: tensors that are described at once, and read when they are asked for."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Malformed(Exception):
    """A file's content is damaged, hostile or not read. `formats.open` makes it an `InputError` that names the file."""


@dataclass(frozen=True)
class Lazy:
    """A tensor in a file, which is read when it is asked for.

    Attributes:
      shape: the tensor's shape.
      dtype: the tensor's NumPy dtype in native byte order; bfloat16 and float8 are those of ml_dtypes.
      fetch: a function that reads the whole tensor.
      window: a function that reads a part of it, given an index of slices, without the rest; None where the format has
        no parts.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    fetch: Callable[[], np.ndarray] = field(repr=False, compare=False)
    window: Callable[[Any], np.ndarray] | None = field(default=None, repr=False, compare=False)

    @property
    def nbytes(self) -> int:
        """The bytes of the whole tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Returns the values, which are a read-only view of the mapped file if its format allows that.

        Raises:
          InputError: the file has changed since it was opened, or its content is damaged.
        """
        return self.fetch()

    def part(self, index: Any) -> np.ndarray:
        """Returns `read()[index]` for an index of slices; in a format with chunks, only those touched are read."""
        return self.window(index) if self.window else self.read()[index]


def read(tensor: Any) -> np.ndarray:
    """Returns the values of a tensor, which is a `Lazy` or an array already."""
    return np.asarray(tensor.read() if hasattr(tensor, "read") else tensor)


@dataclass(frozen=True)
class Opened(Mapping[str, Lazy]):
    """The tensors of one checkpoint by name, and what else was found.

    Attributes:
      format: the reader's name, as "torch_zip".
      unwrapped: what was taken off around the tensors, outermost first: ("state_dict", "module.").
      left_out: the names of the entries that are not among the tensors: optimizer states, counters, strings.
      metadata: the format's own string table (safetensors' `__metadata__`).
      notes: lines about what was read of several: which file of a folder, which network of a file.
      networks: all state dicts of a file that may hold several, by the names of the wrappers around them.
    """

    tensors: Mapping[str, Lazy]
    format: str
    unwrapped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    networks: Mapping[str, "Opened"] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Lazy:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def check_shape(shape: tuple[int, ...], itemsize: int, name: str) -> None:
    """Raises `Malformed` if NumPy could not address an array of this shape.

    Args:
      shape: of the tensor.
      itemsize: bytes of one of its numbers.
      name: of the tensor, for the error.
    """
    if len(shape) > 32:
        raise Malformed(f"tensor {name!r} has {len(shape)} dimensions; at most 32 are read")
    if any(n < 0 for n in shape) or math.prod(max(n, 1) for n in shape) * itemsize >= 2**62:
        raise Malformed(f"tensor {name!r} has the impossible shape {shape}")


def check_total(tensors: Mapping[str, Lazy], file_size: int) -> None:
    """Raises `Malformed` if tensors have far more bytes than their file, as views do that repeat a few numbers."""
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > 64 * file_size + 2**26:
        raise Malformed(f"tensors declare {total:,} bytes in a file of {file_size:,}: refused as a bomb")
