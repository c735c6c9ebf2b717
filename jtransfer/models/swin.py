"""Swin Transformer (Liu et al. 2021, arXiv:2103.14030)."""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jtransfer import layers
from jtransfer.layers.activation import gelu
from jtransfer.models.chain import ImageChain, Pixels
from jtransfer.models.head import Head

Grid = tuple[int, int]
_init = nn.initializers.truncated_normal(0.02)
_dense = partial(nn.Dense, kernel_init=_init)
_norm = partial(layers.LayerNorm, epsilon=1e-5)


class Stem(nn.Module):
    """Patches of the image, and a layer norm."""

    features: int
    patch: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        size = (self.features, self.patch, self.patch, "VALID")
        x = layers.Conv(*size, use_bias=True, dtype=self.dtype, name="patches")(x)
        return _norm(dtype=self.dtype, name="norm")(x)


class Merge(nn.Module):
    """Each 2×2 square, column by column, as one place: a layer norm, a dense layer. Odd maps get a zero at the end."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j f"]:
        x = _pad(x, tuple(-side % 2 for side in x.shape[1:3]))
        x = jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = _norm(dtype=self.dtype, name="norm")(x)
        return _dense(self.features, use_bias=False, dtype=self.dtype, name="dense")(x)


class Block(nn.Module):
    """Attention inside windows and a two-layer network, each after a layer norm and beside a residual.

    Attributes:
      window: side of the windows, in places of the map.
      shifted: the windows lie half a side further down and right, and go on at the other edge; there, a place sees only
        those that it would see in the map. Not along a side of the map that is one window.
      shrink, roll_first: see `Swin`.
    """

    num_heads: int
    window: int
    shifted: bool
    shrink: bool
    roll_first: bool
    drop_path: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        def add(x, y):
            return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)

        width = x.shape[-1]
        x = add(x, self._attend(_norm(dtype=self.dtype, name="norm1")(x)))
        y = _dense(4 * width, dtype=self.dtype, name="fc1")(_norm(dtype=self.dtype, name="norm2")(x))
        return add(x, _dense(width, dtype=self.dtype, name="fc2")(gelu(y)))

    def _attend(self, x):
        sides = x.shape[1:3]
        window = tuple(min(self.window, side) if self.shrink else self.window for side in sides)
        shift = tuple(self.window // 2 * (self.shifted and side > self.window) for side in sides)
        padding = tuple(-side % size for side, size in zip(sides, window, strict=True))
        padded = tuple(side + more for side, more in zip(sides, padding, strict=True))
        x = _pad(_roll(x, shift, -1), padding) if self.roll_first else _roll(_pad(x, padding), shift, -1)
        mask = jnp.tile(jnp.asarray(seen(padded, window, shift))[:, None], (len(x), 1, 1, 1)) if any(shift) else None
        rows = math.prod(2 * side - 1 for side in window)
        table = self.param("relative_bias", _init, (rows, self.num_heads))
        bias = table[relative_index(window)].transpose(2, 0, 1)[None]
        attention = layers.Attention(self.num_heads, self.dtype, kernel_init=_init, name="attention")
        y = join(attention(split(x, window), mask=mask, bias=bias), window, padded)
        return _roll(_crop(y, sides), shift, 1) if self.roll_first else _crop(_roll(y, shift, 1), sides)


def split(x: Float[Array, "b h w c"], window: Grid) -> Float[Array, "bk n c"]:
    """The windows of a map that they divide, row by row."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window[0], window[0], w // window[1], window[1], c)
    return x.swapaxes(2, 3).reshape(-1, math.prod(window), c)


def join(x: Float[Array, "bk n c"], window: Grid, sides: Grid) -> Float[Array, "b h w c"]:
    """The map of sides `sides` that has these windows."""
    rows, columns = (side // size for side, size in zip(sides, window, strict=True))
    x = x.reshape(-1, rows, columns, *window, x.shape[-1])
    return x.swapaxes(2, 3).reshape(-1, *sides, x.shape[-1])


def relative_index(window: Grid) -> Int[np.ndarray, "n n"]:
    """The row of the table of relative biases for each pair of places in a window: by rows apart, then columns."""
    rows, columns = (place.ravel() for place in np.indices(window))
    down, right = (place[:, None] - place for place in (rows, columns))
    return (down + window[0] - 1) * (2 * window[1] - 1) + right + window[1] - 1


def seen(sides: Grid, window: Grid, shift: Grid) -> Bool[np.ndarray, "k n n"]:
    """Which places of a window see which in a map that was rolled by `shift`: those that came from one part of it."""
    parts = [
        (np.arange(side) >= side - size).astype(int) + (np.arange(side) >= side - by) if by else np.zeros(side, int)
        for side, size, by in zip(sides, window, shift, strict=True)
    ]
    part = split((3 * parts[0][:, None] + parts[1])[None, :, :, None], window)[..., 0]
    return part[:, :, None] == part[:, None, :]


def _pad(x, more: Grid):
    return jnp.pad(x, ((0, 0), (0, more[0]), (0, more[1]), (0, 0))) if any(more) else x


def _crop(x, sides: Grid):
    return x[:, : sides[0], : sides[1]]


def _roll(x, shift: Grid, sign: int):
    return jnp.roll(x, [sign * by for by in shift], axis=(1, 2)) if any(shift) else x


class Stage(nn.Module):
    """Blocks, every second one shifted, after `Merge` if wanted.

    Attributes:
      block: constructor of a block, but for `shifted` and `drop_path`.
      drop_paths: stochastic-depth rate of each block (arXiv:1603.09382).
    """

    features: int
    block: partial
    drop_paths: tuple[float, ...]
    merge: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        if self.merge:
            x = Merge(self.features, self.dtype, name="merge")(x)
        for j, rate in enumerate(self.drop_paths):
            x = self.block(shifted=j % 2 == 1, drop_path=rate, dtype=self.dtype, name=f"block{j}")(x, train=train)
        return x


class NormPool(nn.Module):
    """A layer norm, and the mean over height and width."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        return layers.global_avg_pool(_norm(dtype=self.dtype, name="norm")(x))


class Swin(ImageChain):
    """stem → stage1 … stage4 → pool → head.

    Where windows divide each stage's map, as in all public models at their own size, `shrink` and `roll_first` change
    nothing.

    Attributes:
      patch: side of a patch in pixels.
      width: channels of the first stage; each later one has twice those before.
      depths: blocks of each stage.
      num_heads: of each stage.
      window: side of the windows, in places of the map.
      shrink: a window is no larger than the map (timm, transformers, microsoft), and the table of relative biases is
        that of the smaller window; False: the map is padded up to the window (torchvision).
      roll_first: a map that windows don't divide is rolled, then padded (timm); False: the other way round.
      drop_path: stochastic depth of the last block; it falls linearly to 0 at the first.
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
        for i, (depth, num_heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
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
