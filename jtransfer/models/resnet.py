"""ResNet (He et al. 2015, arXiv:1512.03385) in its v1.5 form: the 3×3 convolution of a bottleneck has the stride."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head

_conv = partial(layers.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"))
_norm = partial(layers.BatchNorm, momentum=0.9, epsilon=1e-5)


class Stem(nn.Module):
    """A 7×7 convolution and a max-pool, each with stride 2."""

    features: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = _conv(self.features, 7, 2, 3, dtype=self.dtype, name="conv")(x)
        x = nn.relu(_norm(dtype=self.dtype, name="bn")(x, use_running_average=not train))
        return layers.max_pool(x, 3, 2, 1)


class Shortcut(nn.Module):
    """The 1×1 convolution that brings the residual to the branch's shape."""

    features: int
    strides: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = _conv(self.features, 1, self.strides, 0, dtype=self.dtype, name="conv")(x)
        return _norm(dtype=self.dtype, name="bn")(x, use_running_average=not train)


class Block(nn.Module):
    """Two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1 that ends four times as wide, beside a shortcut."""

    features: int
    strides: int
    bottleneck: bool
    dtype: jnp.dtype = jnp.float32

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
    """`depth` blocks, the first with `strides`."""

    depth: int
    features: int
    strides: int
    bottleneck: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j in range(self.depth):
            strides = self.strides if j == 0 else 1
            x = Block(self.features, strides, self.bottleneck, self.dtype, name=f"block{j}")(x, train=train)
        return x


class ResNet(ImageChain):
    """stem → stage1 … stage4 → pool → head.

    Attributes:
      depths: blocks of each stage.
      bottleneck: bottleneck blocks (from ResNet-50 on) or pairs of 3×3 convolutions.
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
