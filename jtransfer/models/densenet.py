"""DenseNet (Huang et al. 2016, arXiv:1608.06993)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import Head
from jtransfer.models.resnet import Stem

_conv = partial(layers.Conv, use_bias=False, kernel_init=nn.initializers.he_normal())
_norm = partial(layers.BatchNorm, momentum=0.9, epsilon=1e-5)


class Block(nn.Module):
    """Batch norm, ReLU and a 1×1 convolution, then the same with 3×3; its output is concatenated to its input.

    Attributes:
      growth: The number of channels that the block adds.
      dtype: The dtype of the computation.
    """

    growth: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w f"]:
        y = nn.relu(_norm(dtype=self.dtype, name="bn1")(x, use_running_average=not train))
        y = _conv(4 * self.growth, 1, 1, 0, dtype=self.dtype, name="conv1")(y)
        y = nn.relu(_norm(dtype=self.dtype, name="bn2")(y, use_running_average=not train))
        y = _conv(self.growth, 3, 1, 1, dtype=self.dtype, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class Transition(nn.Module):
    """Halves the channels by a 1×1 convolution, and height and width by averaging."""

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        features = x.shape[-1] // 2
        x = nn.relu(_norm(dtype=self.dtype, name="bn")(x, use_running_average=not train))
        return layers.avg_pool(_conv(features, 1, 1, 0, dtype=self.dtype, name="conv")(x), 2, 2)


class Stage(nn.Module):
    """Blocks in a row, after a transition if wanted. Each block sees the outputs of all before it in the stage."""

    depth: int
    growth: int
    transition: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        if self.transition:
            x = Transition(self.dtype, name="transition")(x, train=train)
        for j in range(self.depth):
            x = Block(self.growth, self.dtype, name=f"block{j}")(x, train=train)
        return x


class NormPool(nn.Module):
    """Batch norm, ReLU and the mean over height and width."""

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        x = _norm(dtype=self.dtype, name="bn")(x, use_running_average=not train)
        return layers.global_avg_pool(nn.relu(x))


class DenseNet(ImageChain):
    """DenseNet, a chain of the stages stem → stage1 … stage4 → pool → head.

    Attributes, beside those of `ImageChain`:
      depths: The number of blocks of each stage.
      growth: The number of channels that each block adds.
      features: The number of channels of the stem.
    """

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    features: int = 64

    def parts(self):
        stages = {
            f"stage{i}": partial(Stage, depth, self.growth, i > 1, self.dtype) for i, depth in enumerate(self.depths, 1)
        }
        return {
            "stem": partial(Stem, self.features, dtype=self.dtype),
            **stages,
            "pool": partial(NormPool, self.dtype),
            "head": partial(Head, self.num_classes, dtype=self.dtype),
        }


MODELS = {
    "densenet121": partial(DenseNet),
    "densenet161": partial(DenseNet, depths=(6, 12, 36, 24), growth=48, features=96),
    "densenet169": partial(DenseNet, depths=(6, 12, 32, 32)),
    "densenet201": partial(DenseNet, depths=(6, 12, 48, 32)),
}
