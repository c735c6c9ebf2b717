"""VGG (Simonyan & Zisserman 2014, arXiv:1409.1556), with and without batch norm."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head

FEATURES = (64, 128, 256, 512, 512)
MAP = 7  # height and width of the map that the dense layers see


class Stage(nn.Module):
    """3×3 convolutions, each with ReLU and perhaps batch norm, then a 2×2 max-pool."""

    depth: int
    features: int
    batch_norm: bool
    dtype: jnp.dtype = jnp.float32

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
    """The map averaged to 7×7 and flattened, rows first, channels last."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b n"]:
        return layers.adaptive_avg_pool(x, (MAP, MAP)).reshape(x.shape[0], -1)


class Dense(nn.Module):
    """Dense layers fc1 … with ReLU and dropout after each."""

    widths: tuple[int, ...]
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n"], *, train: bool = False) -> Float[Array, "b f"]:
        for k, width in enumerate(self.widths, 1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{k}")(x))
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x


class DeepHead(nn.Module):
    """A hidden dense layer, as Keras's transfer guide puts on a network without its top, and the logits."""

    num_classes: int
    width: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b k"]:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="fc")(x))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x).astype(jnp.float32)


class VGG(ImageChain):
    """stage1 … stage5 → pool → fc → head; without its top: stage1 … stage5 → pool → head.

    Attributes:
      depths: convolutions of each stage.
      batch_norm: after each convolution.
      include_top: the 7×7 map and its two wide dense layers; without, the mean and a head with `head_width` units.
      width: of the two dense layers.
      head_width: of the hidden layer in the head, without the top.
      dropout: after each dense layer but the last.
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
            for i, (depth, features) in enumerate(zip(self.depths, FEATURES, strict=True), 1)
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
