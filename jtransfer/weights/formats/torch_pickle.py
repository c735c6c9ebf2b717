"""What the pickle of a state dict may name: tensors over storages, for which stubs stand that run nothing.

Both of torch's formats share it.

Facts of the format: `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`
with offsets and strides counted in elements; a persistent id is `("storage", type, key, location, numel[, view])`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jtransfer.weights.formats import inert
from jtransfer.weights.formats.dtypes import BY_NAME
from jtransfer.weights.formats.files import File, typed
from jtransfer.weights.formats.lazy import Lazy, Malformed, check_shape
from jtransfer.weights.formats.pickles import Global

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Untyped": "uint8",
}


@dataclass(frozen=True, eq=False)
class Storage:
    """A part of one of torch's storages.

    Attributes:
      key: the name of the storage.
      dtype: of its numbers.
      total: how many numbers the whole storage has.
      numel: how many numbers the part has.
      start: the first of them.
    """

    key: str
    dtype: np.dtype
    total: int
    numel: int
    start: int = 0

    @property
    def total_bytes(self) -> int:
        return self.total * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Tensor:
    """A strided view of a storage, which was checked to lie inside of it.

    Attributes:
      storage: the storage.
      dtype: of the tensor's numbers.
      offset: where the tensor begins in the storage, in bytes.
      shape: the tensor's shape.
      strides: the steps along its axes, in bytes.
    """

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(args: tuple, _: Any) -> Tensor:
    match args:
        case (Storage() as storage, int(), tuple(), tuple()):
            return _view(storage, storage.dtype, *args[1:4])
        case (Storage() as storage, int(), tuple(), tuple(), bool(), _):
            return _view(storage, storage.dtype, *args[1:4])
        case (Storage() as storage, int(), tuple(), tuple(), bool(), _, dict() | None as metadata):
            if metadata and any(metadata.values()):
                raise Malformed("holds a conjugate or negative view; resolve_conj() and resolve_neg() it before saving")
            return _view(storage, storage.dtype, *args[1:4])
    raise Malformed("pickle is damaged: a tensor is not described by storage, offset, size and stride")


def _rebuild_tensor_v3(args: tuple, spend: Callable[[int], None]) -> Tensor:
    match args:
        case (Storage() as storage, int(), tuple(), tuple(), bool(), _, Global() as kind, *rest) if len(rest) <= 1:
            _rebuild_tensor((*args[:6], *rest), spend)
            return _view(storage, _dtype_named(kind.name), *args[1:4])
    raise Malformed("pickle is damaged: a tensor is not described by storage, offset, size, stride and dtype")


def _dtype_named(name: str) -> np.dtype:
    short = name.removeprefix("torch.")
    if short not in BY_NAME:
        raise Malformed(f"dtype {name!r} is not read")
    return BY_NAME[short]


def _view(storage: Storage, dtype: np.dtype, offset: int, shape: tuple, stride: tuple) -> Tensor:
    numbers = (offset, *shape, *stride)
    if len(shape) > 32 or len(shape) != len(stride) or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise Malformed("pickle has a tensor with an impossible size, stride or offset")
    check_shape(shape, dtype.itemsize, storage.key)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if math.prod(shape) else -1
    end, limit = (last + 1) * dtype.itemsize, storage.numel * storage.dtype.itemsize
    if end > limit:
        raise Malformed(
            f"a tensor of size {list(shape)}, stride {list(stride)}, offset {offset} reaches to byte {end:,} of "
            f"storage {storage.key!r}, which has {limit:,}"
        )
    first = storage.start * storage.dtype.itemsize + offset * dtype.itemsize
    return Tensor(storage, dtype, first if end else 0, shape, tuple(n * dtype.itemsize for n in stride))


def _rebuild_parameter(args: tuple, _: Any) -> Tensor:
    match args:
        case (Tensor() as tensor, bool(), *rest) if len(rest) <= 2:
            return tensor
    raise Malformed("pickle is damaged: a parameter does not hold a tensor")


def _rebuild_from_type(args: tuple, spend: Callable[[int], None]) -> Any:
    match args:
        case (Global(call=rebuild, name=name), Global(), tuple() as inner, *_) if (
            rebuild is not None and name in _REBUILDS
        ):
            return rebuild(inner, spend)
    raise Malformed("pickle is damaged: a tensor subclass does not hold a tensor")


def _ordered_dict(args: tuple, spend: Callable[[int], None]) -> dict:
    match args:
        case ():
            return {}
        case (list() as pairs,):
            spend(len(pairs))
            if all(isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
                return dict(pairs)
    raise Malformed("pickle is damaged: an OrderedDict is not built from pairs of a name and a value")


def _size(args: tuple, _: Any) -> tuple:
    match args:
        case (tuple() as size,):
            return size
    raise Malformed("pickle is damaged: a Size is not built from a tuple")


_REBUILDS = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
_CALLS = {
    **_REBUILDS,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
}
_NAMES = (
    [f"torch.{name}Storage" for name in _STORAGES if name != "Untyped"]
    + ["torch.storage.UntypedStorage", "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"]
    + [f"torch.{name}" for name in BY_NAME]
)
GLOBALS: Mapping[str, Global] = {
    **inert.GLOBALS,
    **{name: Global(name) for name in _NAMES},
    **{name: Global(name, call) for name, call in _CALLS.items()},
}


def storage(persistent_id: Any) -> Storage:
    """Returns the storage that a persistent id in a pickle describes. Raises `Malformed` if it describes none."""
    match persistent_id:
        case ("storage", Global(name=kind), str(key), str(), int(numel)) if 0 <= numel < 2**48:
            return Storage(key, _storage_dtype(kind), numel, numel)
        case ("storage", Global(name=kind), str(key), str(), int(numel), view) if 0 <= numel < 2**48:
            whole = Storage(key, _storage_dtype(kind), numel, numel)
            return whole if view is None else _storage_view(whole, view)
    raise Malformed("pickle is damaged: a persistent id does not describe a storage")


def _storage_dtype(name: str) -> np.dtype:
    kind = name.removeprefix("torch.").removeprefix("storage.").removesuffix("Storage")
    if kind not in _STORAGES:
        raise Malformed(f"storage type {name!r} is not read")
    return BY_NAME[_STORAGES[kind]]


def _storage_view(whole: Storage, view: Any) -> Storage:
    match view:
        case (str(), int(offset), int(size)) if min(offset, size) >= 0 and offset + size <= whole.numel:
            return Storage(whole.key, whole.dtype, whole.total, size, offset)
    raise Malformed(f"a view of storage {whole.key!r} reaches outside of it")


def lazy(file: File, tensor: Tensor, start: int, length: int, swapped: bool) -> Lazy:
    """Returns a tensor of a state dict as a lazy one.

    Args:
      file: the file.
      tensor: what the pickle says of it.
      start: where the tensor's storage begins in the file.
      length: the bytes of the storage.
      swapped: whether its numbers are in the byte order that this machine does not have.
    """

    def fetch() -> np.ndarray:
        flat = typed(file.map(start, length), tensor.dtype, swapped)
        return np.ndarray(tensor.shape, tensor.dtype, flat, tensor.offset, tensor.strides)

    return Lazy(tensor.shape, tensor.dtype, fetch)
