"""ResNet (He et al. 2015, arXiv:1512.03385).

The networks are those called v1.5, in which the 3×3 convolution of a bottleneck has the stride, not the first 1×1.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head

_conv = partial(layers.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"))
_norm = partial(layers.BatchNorm, momentum=0.9, epsilon=1e-5)


class Stem(nn.Module):
    """A 7×7 convolution with batch norm and ReLU, and a max-pool; each with stride 2."""

    features: int = 64
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = _conv(self.features, 7, 2, 3, dtype=self.dtype, name="conv")(x)
        x = nn.relu(_norm(dtype=self.dtype, name="bn")(x, use_running_average=not train))
        return layers.max_pool(x, 3, 2, 1)


class Shortcut(nn.Module):
    """A 1×1 convolution with batch norm, which brings the input of a block to the shape of its output."""

    features: int
    strides: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = _conv(self.features, 1, self.strides, 0, dtype=self.dtype, name="conv")(x)
        return _norm(dtype=self.dtype, name="bn")(x, use_running_average=not train)


class Block(nn.Module):
    """A residual block: two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1, each with batch norm.

    Attributes:
      features: The number of channels of the 3×3 convolutions. A bottleneck ends with four times as many.
      strides: Of the first 3×3 convolution.
      bottleneck: Whether the block is a bottleneck.
      dtype: The dtype of the computation.
    """

    features: int
    strides: int
    bottleneck: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        wide = 4 * self.features
        basic = ((self.features, 3, self.strides), (self.features, 3, 1))
        convs = ((self.features, 1, 1), (self.features, 3, self.strides), (wide, 1, 1)) if self.bottleneck else basic
        y = x
        for k, (features, kernel, strides) in enumerate(convs, 1):
            y = nn.relu(y) if k > 1 else y
            y = _conv(features, kernel, strides, kernel // 2, dtype=self.dtype, name=f"conv{k}")(y)
            y = _norm(dtype=self.dtype, name=f"bn{k}")(y, use_running_average=not train)
        if x.shape != y.shape:
            x = Shortcut(y.shape[-1], self.strides, self.dtype, name="shortcut")(x, train=train)
        return nn.relu(x + y)


class Stage(nn.Module):
    """Blocks in a row; the first one has the strides. The fields are those of `Block`, and `depth`, their number."""

    depth: int
    features: int
    strides: int
    bottleneck: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j in range(self.depth):
            strides = self.strides if j == 0 else 1
            x = Block(self.features, strides, self.bottleneck, self.dtype, name=f"block{j}")(x, train=train)
        return x


class ResNet(ImageChain):
    """ResNet, a chain of the stages stem → stage1 … stage4 → pool → head.

    Attributes, beside those of `ImageChain`:
      depths: The number of blocks of each stage.
      bottleneck: Whether blocks are bottlenecks (from ResNet-50 on) and not pairs of 3×3 convolutions.
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False

    def parts(self):
        stages = {
            f"stage{i + 1}": partial(Stage, depth, 64 * 2**i, 1 if i == 0 else 2, self.bottleneck, self.dtype)
            for i, depth in enumerate(self.depths)
        }
        head = partial(Head, self.num_classes, dtype=self.dtype)
        return {"stem": partial(Stem, dtype=self.dtype), **stages, "pool": GlobalPool, "head": head}


MODELS = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, depths=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True),
    "resnet152": partial(ResNet, depths=(3, 8, 36, 3), bottleneck=True),
}
