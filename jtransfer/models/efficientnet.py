"""EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite), after arXiv:1905.11946.

EfficientNet without squeeze-and-excitation, with ReLU6; stem, first stage, last stage and last convolution
do not scale.
"""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.models.chain import Chain, Pixels
from jtransfer.models.head import GlobalPool, Head

# expansion, features, blocks, kernel, strides of each stage at width and depth 1
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


class ConvNorm(nn.Module):
    """Convolution, batch norm and, if `act`, ReLU6."""

    features: int
    kernel: int
    strides: int = 1
    depthwise: bool = False
    act: bool = True
    symmetric: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        x = layers.Conv(
            self.features,
            self.kernel,
            self.strides,
            self.kernel // 2 if self.symmetric else "SAME",
            groups=x.shape[-1] if self.depthwise else 1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_in" if self.depthwise else "fan_out", "normal"),
            name="conv",
        )(x)
        momentum, epsilon = (0.9, 1e-5) if self.symmetric else (0.99, 1e-3)
        norm = layers.BatchNorm(momentum=momentum, epsilon=epsilon, dtype=self.dtype, name="bn")
        x = norm(x, use_running_average=not train)
        return nn.relu6(x) if self.act else x


class Block(nn.Module):
    """An inverted bottleneck (arXiv:1801.04381): widen, filter each channel, narrow; a residual where shapes agree."""

    expansion: int
    features: int
    kernel: int
    strides: int
    drop_path: float
    symmetric: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        layer = partial(ConvNorm, symmetric=self.symmetric, dtype=self.dtype)
        wide = self.expansion * x.shape[-1]
        y = x
        if self.expansion > 1:
            y = layer(wide, 1, name="expand")(y, train=train)
        y = layer(wide, self.kernel, self.strides, depthwise=True, name="depthwise")(y, train=train)
        y = layer(self.features, 1, act=False, name="project")(y, train=train)
        if x.shape != y.shape:
            return y
        return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)


class Stage(nn.Module):
    """Blocks with one stochastic-depth rate each (arXiv:1603.09382), the first with `strides`."""

    expansion: int
    features: int
    kernel: int
    strides: int
    drop_paths: tuple[float, ...]
    symmetric: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j, rate in enumerate(self.drop_paths):
            strides = self.strides if j == 0 else 1
            shape = (self.expansion, self.features, self.kernel, strides)
            x = Block(*shape, rate, self.symmetric, self.dtype, name=f"block{j}")(x, train=train)
        return x


class EfficientNetLite(Chain):
    """stem → stage1 … stage7 → conv_head → pool → head.

    Attributes:
      width, depth: multipliers of features and blocks.
      dropout: before the last dense layer.
      drop_path: stochastic depth of the last block; it falls linearly to 0 at the first.
      symmetric: PyTorch's padding, epsilon 1e-5 and momentum 0.9, as in weights that were trained in PyTorch (timm's
        `efficientnet_lite0.ra_in1k`), and not TensorFlow's "SAME", 1e-3 and 0.99 (timm's `tf_efficientnet_lite0.in1k`).
        Parameters have the same names and shapes in both, so nothing but the accuracy shows a wrong choice.
    """

    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    drop_path: float = 0.2
    symmetric: bool = False
    pixels: Pixels = Pixels((127 / 255,) * 3, (128 / 255,) * 3, 0.875, "bicubic")

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks of each stage."""
        ends = (0, len(STAGES) - 1)
        return tuple(n if i in ends else math.ceil(self.depth * n) for i, (_, _, n, _, _) in enumerate(STAGES))

    def parts(self):
        layer = partial(ConvNorm, symmetric=self.symmetric, dtype=self.dtype)
        stages, first, total = {}, 0, sum(self.depths)
        for i, (expansion, features, _, kernel, strides) in enumerate(STAGES):
            last = first + self.depths[i]
            rates = tuple(self.drop_path * n / total for n in range(first, last))
            shape = (expansion, scaled(features, self.width), kernel, strides)
            stages[f"stage{i + 1}"] = partial(Stage, *shape, rates, self.symmetric, self.dtype)
            first = last
        return {
            "stem": partial(layer, 32, 3, 2),
            **stages,
            "conv_head": partial(layer, 1280, 1),
            "pool": GlobalPool,
            "head": partial(Head, self.num_classes, self.dropout, self.dtype),
        }


def scaled(features: int, width: float, divisor: int = 8) -> int:
    """`width * features` rounded to a multiple of `divisor`, but never down by more than a tenth."""
    wanted = width * features
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


MODELS = {
    "efficientnet_lite0": partial(EfficientNetLite, image_size=224),
    "efficientnet_lite1": partial(EfficientNetLite, depth=1.1, image_size=240),
    "efficientnet_lite2": partial(EfficientNetLite, width=1.1, depth=1.2, dropout=0.3, image_size=260),
    "efficientnet_lite3": partial(EfficientNetLite, width=1.2, depth=1.4, dropout=0.3, image_size=280),
    "efficientnet_lite4": partial(EfficientNetLite, width=1.4, depth=1.8, dropout=0.3, image_size=300),
}
