"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556), with and without batch norm."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head
from jtransfer.models.stages import by_stage

FEATURES = (64, 128, 256, 512, 512)
MAP = 7  # height and width of the feature map that the dense layers see


class Stage(nn.Module):
    """3×3 convolutions, each with ReLU and, if wanted, batch norm, then a 2×2 max-pool."""

    depth: int
    features: int
    batch_norm: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        for k in range(1, self.depth + 1):
            x = layers.Conv(self.features, 3, 1, 1, dtype=self.dtype, kernel_init=init, name=f"conv{k}")(x)
            if self.batch_norm:
                norm = layers.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=self.dtype, name=f"bn{k}")
                x = norm(x, use_running_average=not train)
            x = nn.relu(x)
        return layers.max_pool(x, 2, 2)


class FlatPool(nn.Module):
    """Averages a feature map to 7×7 and flattens it, rows first and channels last."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b n"]:
        return layers.adaptive_avg_pool(x, (MAP, MAP)).reshape(x.shape[0], -1)


class Dense(nn.Module):
    """Dense layers "fc1", "fc2", …, each followed by ReLU and dropout."""

    widths: tuple[int, ...]
    dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n"], *, train: bool = False) -> Float[Array, "b f"]:
        for k, width in enumerate(self.widths, 1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{k}")(x))
            x = Dropout(self.dropout)(x, deterministic=not train)
        return x


class DeepHead(nn.Module):
    """A dense layer with ReLU and dropout, and one for the logits: what Keras's guides put on a VGG without its top."""

    num_classes: int
    width: int
    dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b k"]:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="fc")(x))
        x = Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x).astype(jnp.float32)


class VGG(ImageChain):
    """VGG, a chain of the stages stage1 … stage5 → pool → fc → head, or without its top stage1 … stage5 → pool → head.

    Attributes, beside those of `ImageChain`:
      depths: The number of convolutions of each stage.
      batch_norm: Whether there is a batch norm after each convolution.
      include_top: Whether the feature map is averaged to 7×7 and followed by two wide dense layers. Otherwise its mean
        is taken, and the head has a hidden layer of its own.
      width: The number of features of the two dense layers.
      head_width: The number of features of the head's hidden layer, without the top.
      dropout: The rate in training after each dense layer but the last.
    """

    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    batch_norm: bool = False
    include_top: bool = True
    width: int = 4096
    head_width: int = 1024
    dropout: float = 0.5

    def parts(self):
        stages = {
            f"stage{i}": partial(Stage, depth, features, self.batch_norm, self.dtype)
            for i, (depth, features) in enumerate(by_stage(depths=self.depths, features=FEATURES), 1)
        }
        if not self.include_top:
            head = partial(DeepHead, self.num_classes, self.head_width, self.dropout, self.dtype)
            return {**stages, "pool": GlobalPool, "head": head}
        dense = partial(Dense, (self.width, self.width), self.dropout, self.dtype)
        return {**stages, "pool": FlatPool, "fc": dense, "head": partial(Head, self.num_classes, dtype=self.dtype)}


_DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}

MODELS = {
    f"vgg{n}{'_bn' if norm else ''}": partial(VGG, depths=depths, batch_norm=norm)
    for n, depths in _DEPTHS.items()
    for norm in (False, True)
}
