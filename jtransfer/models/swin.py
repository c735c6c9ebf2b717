"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030)."""

import math
from collections.abc import Iterable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jtransfer import layers
from jtransfer.layers.activation import gelu
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain, Pixels
from jtransfer.models.head import Head
from jtransfer.models.stages import by_stage

Grid = tuple[int, int]
_init = nn.initializers.truncated_normal(0.02)
_dense = partial(nn.Dense, kernel_init=_init)
_norm = partial(layers.LayerNorm, epsilon=1e-5)


class Stem(nn.Module):
    """Embeds the patches of an image, and normalises them by a layer norm."""

    features: int
    patch: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        size = (self.features, self.patch, self.patch, "VALID")
        x = layers.Conv(*size, use_bias=True, dtype=self.dtype, name="patches")(x)
        return _norm(dtype=self.dtype, name="norm")(x)


class Merge(nn.Module):
    """Halves height and width: the channels of each 2×2 square, column by column, go through a layer norm and a dense
    layer. Odd sides are padded with zeros at the end."""

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j f"]:
        x = _pad(x, (-x.shape[1] % 2, -x.shape[2] % 2))
        x = jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = _norm(dtype=self.dtype, name="norm")(x)
        return _dense(self.features, use_bias=False, dtype=self.dtype, name="dense")(x)


class Block(nn.Module):
    """Attention inside windows of the feature map, and a two-layer network, each after a layer norm and with a residual
    connection.

    Attributes:
      num_heads: The number of attention heads.
      window: The side of the windows, in positions of the map.
      shifted: Whether the windows lie half a side further down and to the right, and go on at the opposite edge. There,
        positions attend only to those that are near them in the map. A side of the map that is a single window is not
        shifted.
      shrink: See `Swin`.
      roll_first: See `Swin`.
      drop_path: The rate of stochastic depth.
      dtype: The dtype of the computation.
    """

    num_heads: int
    window: int
    shifted: bool
    shrink: bool
    roll_first: bool
    drop_path: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        def add(x, y):
            return x + Dropout(self.drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)

        width = x.shape[-1]
        x = add(x, self._attend(_norm(dtype=self.dtype, name="norm1")(x)))
        y = _dense(4 * width, dtype=self.dtype, name="fc1")(_norm(dtype=self.dtype, name="norm2")(x))
        return add(x, _dense(width, dtype=self.dtype, name="fc2")(gelu(y)))

    def _attend(self, x):
        sides = x.shape[1:3]
        window = _grid(min(self.window, side) if self.shrink else self.window for side in sides)
        shift = _grid(self.window // 2 * (self.shifted and side > self.window) for side in sides)
        padding = _grid(-side % size for side, size in zip(sides, window, strict=True))
        padded = _grid(side + more for side, more in zip(sides, padding, strict=True))
        x = _pad(_roll(x, shift, -1), padding) if self.roll_first else _roll(_pad(x, padding), shift, -1)
        known = jnp.asarray(seen(padded, window, shift))[:, None] if any(shift) else None
        mask = None if known is None else jnp.tile(known, (x.shape[0], 1, 1, 1))
        rows = math.prod(2 * side - 1 for side in window)
        table = self.param("relative_bias", _init, (rows, self.num_heads))
        bias = table[relative_index(window)].transpose(2, 0, 1)[None]
        attention = layers.Attention(self.num_heads, self.dtype, kernel_init=_init, name="attention")
        y = join(attention(split(x, window), mask=mask, bias=bias), window, padded)
        return _roll(_crop(y, sides), shift, 1) if self.roll_first else _crop(_roll(y, shift, 1), sides)


def split(x: Num[Array, "b h w c"], window: Grid) -> Num[Array, "bk n c"]:
    """Splits a map into windows, row by row, each as a sequence; windows divide the map."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window[0], window[0], w // window[1], window[1], c)
    return x.swapaxes(2, 3).reshape(-1, math.prod(window), c)


def join(x: Float[Array, "bk n c"], window: Grid, sides: Grid) -> Float[Array, "b h w c"]:
    """Puts windows together to a map with these sides; the inverse of `split`."""
    rows, columns = (side // size for side, size in zip(sides, window, strict=True))
    x = x.reshape(-1, rows, columns, *window, x.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, *sides, x.shape[-1])


def relative_index(window: Grid) -> Int[np.ndarray, "n n"]:
    """The row of the table of relative biases for each pair of positions of a window.

    The table is ordered by the difference of the rows, then by that of the columns.
    """
    rows, columns = (place.ravel() for place in np.indices(window))
    down, right = (place[:, None] - place for place in (rows, columns))
    return (down + window[0] - 1) * (2 * window[1] - 1) + right + window[1] - 1


def seen(sides: Grid, window: Grid, shift: Grid) -> Bool[np.ndarray, "k n n"]:
    """The attention mask of each window of a map that was rolled: True for pairs that were near before.

    Args:
      sides: Height and width of the map.
      window: Height and width of a window.
      shift: By how much the map was rolled, down and to the right.
    """
    parts = [
        (np.arange(side) >= side - size).astype(int) + (np.arange(side) >= side - by) if by else np.zeros(side, int)
        for side, size, by in zip(sides, window, shift, strict=True)
    ]
    part = np.asarray(split((3 * parts[0][:, None] + parts[1])[None, :, :, None], window))[..., 0]
    return part[:, :, None] == part[:, None, :]


def _grid(numbers: Iterable[int]) -> Grid:
    rows, columns = numbers
    return rows, columns


def _pad(x, more: Grid):
    return jnp.pad(x, ((0, 0), (0, more[0]), (0, more[1]), (0, 0))) if any(more) else x


def _crop(x, sides: Grid):
    return x[:, : sides[0], : sides[1]]


def _roll(x, shift: Grid, sign: int):
    return jnp.roll(x, [sign * by for by in shift], axis=(1, 2)) if any(shift) else x


class Stage(nn.Module):
    """Blocks in a row, every second one with shifted windows, after `Merge` if wanted.

    Attributes:
      features: The number of channels.
      block: The constructor of a block, without `shifted` and `drop_path`.
      drop_paths: The rate of stochastic depth (Huang et al. 2016, arXiv:1603.09382) of each block.
      merge: Whether height and width are halved first.
      dtype: The dtype of the computation.
    """

    features: int
    block: partial
    drop_paths: tuple[float, ...]
    merge: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        if self.merge:
            x = Merge(self.features, self.dtype, name="merge")(x)
        for j, rate in enumerate(self.drop_paths):
            x = self.block(shifted=j % 2 == 1, drop_path=rate, dtype=self.dtype, name=f"block{j}")(x, train=train)
        return x


class NormPool(nn.Module):
    """A layer norm, followed by the mean over height and width."""

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        return layers.global_avg_pool(_norm(dtype=self.dtype, name="norm")(x))


class Swin(ImageChain):
    """Swin Transformer, a chain of the stages stem → stage1 … stage4 → pool → head.

    Where windows divide the map of each stage, as in all public models at their own image size, `shrink` and
    `roll_first` make no difference.

    Attributes, beside those of `ImageChain`:
      patch: The side of a patch in pixels.
      width: The number of channels of the first stage; each later stage has twice as many as the one before.
      depths: The number of blocks of each stage.
      num_heads: The number of attention heads of each stage.
      window: The side of the windows, in positions of the map.
      shrink: What happens where the map is smaller than a window. True: the window, and its table of relative biases,
        are as small as the map (timm, transformers, the authors). False: the map is padded (torchvision).
      roll_first: Whether a map that windows do not divide is rolled before it is padded (timm), and not after.
      drop_path: The rate of stochastic depth of the last block; it falls linearly to 0 at the first.
    """

    patch: int = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    shrink: bool = True
    roll_first: bool = True
    drop_path: float = 0.2
    pixels: Pixels = Pixels(crop=0.9, interpolation="bicubic")

    def parts(self):
        stages, first, last = {}, 0, max(sum(self.depths) - 1, 1)
        for i, (depth, num_heads) in enumerate(by_stage(depths=self.depths, num_heads=self.num_heads)):
            block = partial(Block, num_heads, self.window, shrink=self.shrink, roll_first=self.roll_first)
            rates = tuple(self.drop_path * n / last for n in range(first, first + depth))
            stages[f"stage{i + 1}"] = partial(Stage, self.width * 2**i, block, rates, i > 0, self.dtype)
            first += depth
        return {
            "stem": partial(Stem, self.width, self.patch, self.dtype),
            **stages,
            "pool": partial(NormPool, self.dtype),
            "head": partial(Head, self.num_classes, dtype=self.dtype),
        }


_DEEP = (2, 2, 18, 2)

MODELS = {
    "swin_tiny": partial(Swin),
    "swin_small": partial(Swin, depths=_DEEP, drop_path=0.3),
    "swin_base": partial(Swin, depths=_DEEP, width=128, num_heads=(4, 8, 16, 32), drop_path=0.5),
    "swin_large": partial(Swin, depths=_DEEP, width=192, num_heads=(6, 12, 24, 48), drop_path=0.5),
}
MODELS |= {f"{name}_384": partial(MODELS[name], window=12, image_size=384) for name in ("swin_base", "swin_large")}
