"""The names of ViT in files that were written in JAX: those of ViT-AugReg and those of big_vision."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.models.vit import ViT
from jtransfer.weights.mapping import Map, Scheme, Transform, as_tuple, identity


class _Numbers(NamedTuple):
    """Flax's names of a block's parts, which it numbers in the order in which they were made."""

    attention: str
    norm2: str
    mlp: str


_OLD = _Numbers("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
_NEW = _Numbers("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")
_POSITIONS = ("pos_embedding", "Transformer/posembed_input/pos_embedding", "Transformer/pos_embedding")


def schemes(model: ViT) -> tuple[Scheme, ...]:
    """The naming schemes of a ViT in files that were written in JAX.

    The files of ViT-AugReg count all parts of a block together, those of big_vision each kind by itself. big_vision has
    a second form, for layers that run as a loop, in which a tensor holds all layers.
    """
    rows = [*_ends_in_flax(model), *_map_head(model)]
    block = "Transformer/encoderblock"
    one_by_one = [_layer(f"{block}_{{i}}", "layer_{i}", model, numbers) for numbers in (_OLD, _NEW)]
    looped = _stacked(_layer(block, "layer_{i}", model, _NEW), model.depth)
    old = (_POSITIONS[1], _POSITIONS[0], _POSITIONS[2])
    return (
        Scheme("augreg", (*_positions(model, old), *rows, *one_by_one[0]), ignore=()),
        Scheme("big_vision", (*_positions(model, _POSITIONS), *rows, *one_by_one[1]), ignore=()),
        Scheme("big_vision scan", (*_positions(model, _POSITIONS), *rows, *looped), ignore=()),
    )


def _positions(model: ViT, names: Sequence[str]) -> list[Map]:
    """The rows of the position embeddings; a class token that has none there has zeros here."""
    height, width = (side // model.patch for side in model.sides)

    def load(x: np.ndarray) -> np.ndarray:
        rows = x.shape[1]
        bare = rows == height * width or (rows != height * width + 1 and math.isqrt(rows) ** 2 == rows)
        return np.concatenate([np.zeros_like(x[:, :1]), x], axis=1) if bare else x

    def save(x: np.ndarray) -> np.ndarray:
        return x if x[:, 0].any() else x[:, 1:]

    given = Transform(load, save) if model.tokens else identity
    return [Map(name, "embed/positions", given) for name in names]


def _ends_in_flax(model: ViT) -> Iterator[Map]:
    yield Map("cls", "embed/class_token")
    yield from _flax("embedding", "embed/patches")
    yield from _flax("Transformer/encoder_norm", "pool/norm", "scale")
    yield from _flax("head", "head/dense")


def _map_head(model: ViT) -> Iterator[Map]:
    yield Map("MAPHead_0/probe", "pool/probe")
    yield from _parts("MAPHead_0", "pool", model, _NEW._replace(norm2="LayerNorm_0"))


def _layer(theirs: str, ours: str, model: ViT, numbers: _Numbers) -> Iterator[Map]:
    yield from _flax(f"{theirs}/LayerNorm_0", f"{ours}/norm1", "scale")
    yield from _parts(theirs, ours, model, numbers)


def _parts(theirs: str, ours: str, model: ViT, numbers: _Numbers) -> Iterator[Map]:
    """Attention, with [d, heads, d / heads] kernels, and what follows."""
    num_heads, width = model.num_heads, model.width
    split = Transform(lambda x: x.reshape(width, width), lambda x: x.reshape(width, num_heads, -1))
    split_bias = Transform(lambda x: x.reshape(width), lambda x: x.reshape(num_heads, -1))
    joined = Transform(lambda x: x.reshape(width, width), lambda x: x.reshape(num_heads, -1, width))
    attention, its = f"{theirs}/{numbers.attention}", f"{ours}/attention"
    for name in ("query", "key", "value"):
        yield Map(f"{attention}/{name}/kernel", f"{its}/{name}/kernel", split)
        yield Map(f"{attention}/{name}/bias", f"{its}/{name}/bias", split_bias)
    yield Map(f"{attention}/out/kernel", f"{its}/out/kernel", joined)
    yield Map(f"{attention}/out/bias", f"{its}/out/bias")
    yield from _flax(f"{theirs}/{numbers.norm2}", f"{ours}/norm2", "scale")
    yield from _flax(f"{theirs}/{numbers.mlp}/Dense_0", f"{ours}/fc1")
    yield from _flax(f"{theirs}/{numbers.mlp}/Dense_1", f"{ours}/fc2")


def _stacked(rows: Iterable[Map], depth: int) -> Iterator[Map]:
    """The rows of tensors that hold all layers along their first axis, made from the rows of one layer."""

    def transform(one: Transform) -> Transform:
        def load(x: np.ndarray) -> tuple[np.ndarray, ...]:
            if len(x) != depth:
                raise ValueError(f"{len(x)} layers, not {depth}")
            return tuple(array for layer in x for array in as_tuple(one.load(layer)))

        return Transform(load, lambda *layers: np.stack([one.save(x) for x in layers]))

    for row in rows:
        (path,) = as_tuple(row.params)
        yield Map(row.source, tuple(path.replace("{i}", str(i)) for i in range(depth)), transform(row.transform))


def _flax(foreign: str, ours: str, weight: str = "kernel") -> list[Map]:
    return [Map(f"{foreign}/{name}", f"{ours}/{name}") for name in (weight, "bias")]
