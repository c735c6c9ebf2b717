"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.activation import gelu
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain, Pixels
from jtransfer.models.head import Head
from jtransfer.models.stages import by_stage

_init = nn.initializers.truncated_normal(0.02)
_conv = partial(layers.Conv, kernel_init=_init)
_dense = partial(nn.Dense, kernel_init=_init)
_norm = partial(layers.LayerNorm, epsilon=1e-6)


class Stem(nn.Module):
    """A 4×4 convolution with stride 4, and a layer norm."""

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = _conv(self.features, 4, 4, "VALID", dtype=self.dtype, name="conv")(x)
        return _norm(dtype=self.dtype, name="norm")(x)


class Downsample(nn.Module):
    """A layer norm, and a 2×2 convolution with stride 2."""

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j f"]:
        x = _norm(dtype=self.dtype, name="norm")(x)
        return _conv(self.features, 2, 2, "VALID", dtype=self.dtype, name="conv")(x)


class Block(nn.Module):
    """A residual block: a 7×7 depthwise convolution, a layer norm, and two dense layers with four times the channels
    between them, whose output is scaled by `layer_scale`.

    Attributes:
      drop_path: The rate of stochastic depth.
      dtype: The dtype of the computation.
    """

    drop_path: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w c"]:
        width = x.shape[-1]
        y = _conv(width, 7, 1, 3, groups=width, dtype=self.dtype, name="conv")(x)
        y = _norm(dtype=self.dtype, name="norm")(y)
        y = _dense(4 * width, dtype=self.dtype, name="fc1")(y)
        y = _dense(width, dtype=self.dtype, name="fc2")(gelu(y))
        y = layers.LayerScale(1e-6, self.dtype, name="layer_scale")(y)
        return x + Dropout(self.drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)


class Stage(nn.Module):
    """Blocks in a row, after `Downsample` if wanted.

    Attributes:
      features: The number of channels.
      drop_paths: The rate of stochastic depth (Huang et al. 2016, arXiv:1603.09382) of each block.
      downsample: Whether height and width are halved first.
      dtype: The dtype of the computation.
    """

    features: int
    drop_paths: tuple[float, ...]
    downsample: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        if self.downsample:
            x = Downsample(self.features, self.dtype, name="downsample")(x)
        for j, rate in enumerate(self.drop_paths):
            x = Block(rate, self.dtype, name=f"block{j}")(x, train=train)
        return x


class NormPool(nn.Module):
    """The mean over height and width, followed by a layer norm, in which `eps` is added to the variance."""

    eps: float = 1e-6
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        return _norm(epsilon=self.eps, dtype=self.dtype, name="norm")(layers.global_avg_pool(x))


class ConvNeXt(ImageChain):
    """ConvNeXt, a chain of the stages stem → stage1 … stage4 → pool → head.

    Attributes, beside those of `ImageChain`:
      depths: The number of blocks of each stage.
      widths: The number of channels of each stage.
      drop_path: The rate of stochastic depth of the last block; it falls linearly to 0 at the first.
      pool_eps: Added to the variance in the layer norm before the head, which transformers alone has a setting for; all
        others have 1e-6.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    drop_path: float = 0.1
    pixels: Pixels = Pixels(interpolation="bicubic")
    pool_eps: float = 1e-6

    def parts(self):
        stages, first, last = {}, 0, max(sum(self.depths) - 1, 1)
        for i, (depth, width) in enumerate(by_stage(depths=self.depths, widths=self.widths)):
            rates = tuple(self.drop_path * n / last for n in range(first, first + depth))
            stages[f"stage{i + 1}"] = partial(Stage, width, rates, i > 0, self.dtype)
            first += depth
        return {
            "stem": partial(Stem, self.widths[0], self.dtype),
            **stages,
            "pool": partial(NormPool, self.pool_eps, self.dtype),
            "head": partial(Head, self.num_classes, dtype=self.dtype),
        }


_DEEP = (3, 3, 27, 3)

MODELS = {
    "convnext_tiny": partial(ConvNeXt),
    "convnext_small": partial(ConvNeXt, depths=_DEEP, drop_path=0.4),
    "convnext_base": partial(ConvNeXt, depths=_DEEP, widths=(128, 256, 512, 1024), drop_path=0.5),
    "convnext_large": partial(ConvNeXt, depths=_DEEP, widths=(192, 384, 768, 1536), drop_path=0.5),
}
