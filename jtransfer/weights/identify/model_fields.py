"""Whether the fields that a file states can be those of a model, and of the one whose tensors lie beside the file.

It is asked before a model is made of them: one of a thousand million layers would never be finished.
"""

import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.chain import Pixels
from jtransfer.weights import schema
from jtransfer.weights.schema import Kind

_NULL = Kind("null", lambda x: x is None)
_ANY = Kind("anything", lambda x: True)
_LAYERS = ("depth", "decoder_depth", "text_depth", "depths")
_AXES = (  # fields that some tensor of the model is as long as, or longer
    *("width", "widths", "text_width", "head_width", "embedding_size", "features", "growth", "num_features"),
    *("mlp_dim", "decoder_mlp_dim", "text_mlp_dim", "vocab_size", "projection", "patch", "num_buckets"),
    *("num_heads", "decoder_num_heads", "text_num_heads", "num_kv_heads", "head_dim"),
)
_OF_FACTOR = 100  # tensors at least of a model whose depth is a factor, where it is 1
_STACKED = 1000  # layers at most that one tensor holds
_BY_NAME = {
    **dict.fromkeys(("pad", "start", "end"), schema.TOKEN),
    **dict.fromkeys(("max_length", "window", "window_every"), schema.LENGTH),
    "max_distance": schema.DISTANCE,
    **dict.fromkeys(("num_classes", "segments", "biases"), schema.whole(0, 1 << 24)),
    **dict.fromkeys(_LAYERS, schema.LAYERS),
    "image_size": schema.SIDE,
    "channels": schema.CHANNELS,
}


def check(kind: type, fields: Mapping[str, Any], where: str) -> None:
    """Checks the types and the bounds of fields of a model, as plain data or with tuples.

    Args:
      kind: the model's class.
      fields: of the model; those that it does not have are left to `models.create`.
      where: what to call the file that states them in an error.

    Raises:
      InputError: a value can't be one of the field.
    """
    schema.check(fields, _kinds(kind), where)


def fit(fields: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> None:
    """Checks that a model with these fields is not larger than the tensors that it is to be filled from.

    Args:
      fields: of the model, of the right types.
      tensors: by name; they need a shape.
      where: as for `check`.

    Raises:
      InputError: there are more layers than tensors, or a layer is wider than the largest tensor has numbers.
    """
    sizes = [math.prod(tensor.shape) for tensor in tensors.values()]
    stacked = {tensor.shape[0] for tensor, size in zip(tensors.values(), sizes, strict=True) if tensor.shape and size}
    layers = [n for key in _LAYERS for n in _whole(fields.get(key))]
    if isinstance(factor := fields.get("depth"), float) and factor * _OF_FACTOR > len(sizes):
        raise InputError(
            f"{where} has a model {factor:g} times as deep as the smallest; the weights are {len(sizes):,} tensors"
        )
    if sum(layers) > len(sizes) and not all(n in stacked and n <= _STACKED for n in layers):
        raise InputError(f"{where} has a model of {sum(layers):,} layers; the weights are {len(sizes):,} tensors")
    largest = max(sizes, default=0)
    for key in _AXES:
        if any(n > largest for n in _whole(fields.get(key))):
            said = f"{where} has a model with {key}={schema.shown(fields[key])}"
            raise InputError(f"{said}; the largest tensor of the weights has {largest:,} numbers")
    if "shrink" in fields and (2 * fields.get("window", 1) - 1) ** 2 > largest:
        raise InputError(f"{where} has a model with window={fields['window']}, of which the weights have no table")


def _whole(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return [x for x in values if type(x) is int]


@functools.cache
def _kinds(model: type) -> dict[str, Kind]:
    return {name: _kind(name, hint) for name, hint in typing.get_type_hints(model).items() if name != "dtype"}


def _kind(name: str, hint: Any) -> Kind:
    """The kind of the values of a field, by its annotation and its name."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return schema.either(*(_kind(name, part) for part in inside))
    if origin is tuple:
        count = (0, 100) if inside[-1] is ... else (len(inside), len(inside))
        return schema.many(_kind(name, inside[0]), *count)
    plain = {
        type(None): _NULL,
        bool: schema.FLAG,
        str: schema.TEXT,
        int: _BY_NAME.get(name, schema.SIZE),
        float: _number(name),
        Pixels: schema.either(schema.OBJECT, Kind("pixels", lambda x: isinstance(x, Pixels))),
    }
    return plain.get(hint, _ANY) if isinstance(hint, type) else _ANY


def _number(name: str) -> Kind:
    if name.endswith(("dropout", "eps")) or name == "drop_path":
        return schema.RATE
    return schema.number(0.01, 100) if name in ("width", "depth") else schema.number(-1e30, 1e30)
