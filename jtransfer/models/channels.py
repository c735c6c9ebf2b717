"""Images of any number of channels for a model of images of three: one dense layer over the channels of each pixel."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head


class Pointwise(nn.Module):
    """A learned 1×1 convolution. It begins by giving each output the mean of all channels, times the square root of
    their number: of independent channels that is as varied as each of them.

    Attributes:
      features: The number of channels that it gives.
      dtype: The dtype of the computation.
    """

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w d"]:
        init = nn.initializers.constant(x.shape[-1] ** -0.5)
        return nn.Dense(self.features, dtype=self.dtype, kernel_init=init, name="dense")(x)


class Channels(ImageChain):
    """Images of some number of channels → images of another; a source to compose with a model of images.

        models.compose({"name": "channels", "channels": 12}, 0, "resnet18", cut="pool")

    Attributes:
      features: The number of channels that the stage "mix" gives.
    """

    features: int = 3

    def parts(self):
        return {
            "mix": partial(Pointwise, self.features, dtype=self.dtype),
            "pool": partial(GlobalPool),
            "head": partial(Head, self.num_classes, dtype=self.dtype),
        }


MODELS = {"channels": partial(Channels)}
