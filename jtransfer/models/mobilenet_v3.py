"""MobileNetV3 (Howard et al. 2019, arXiv:1905.02244)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array, DType
from jtransfer.models.head import Head
from jtransfer.models.inverted import Inverted, Widths, scaled

# of each stage: activation, whether it squeezes, and of each block: channels inside, at its end, kernel size, strides
SMALL = (
    (nn.relu, True, ((16, 16, 3, 2),)),
    (nn.relu, False, ((72, 24, 3, 2), (88, 24, 3, 1))),
    (nn.hard_swish, True, ((96, 40, 5, 2), (240, 40, 5, 1), (240, 40, 5, 1))),
    (nn.hard_swish, True, ((120, 48, 5, 1), (144, 48, 5, 1))),
    (nn.hard_swish, True, ((288, 96, 5, 2), (576, 96, 5, 1), (576, 96, 5, 1))),
)
LARGE = (
    (nn.relu, False, ((16, 16, 3, 1),)),
    (nn.relu, False, ((64, 24, 3, 2), (72, 24, 3, 1))),
    (nn.relu, True, ((72, 40, 5, 2), (120, 40, 5, 1), (120, 40, 5, 1))),
    (nn.hard_swish, False, ((240, 80, 3, 2), (200, 80, 3, 1), (184, 80, 3, 1), (184, 80, 3, 1))),
    (nn.hard_swish, True, ((480, 112, 3, 1), (672, 112, 3, 1))),
    (nn.hard_swish, True, ((672, 160, 5, 2), (960, 160, 5, 1), (960, 160, 5, 1))),
)


class Wide(nn.Module):
    """A dense layer on the pooled features, followed by hard-swish."""

    features: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b f"]:
        return nn.hard_swish(nn.Dense(self.features, dtype=self.dtype, name="dense")(x))


class MobileNetV3(Inverted):
    """MobileNetV3, a chain of the stages stem → stage1 … → conv_head → pool → fc → head.

    torchvision's weights need the default fields, timm's `mobilenetv3_…` need `eps=1e-5`, timm's `tf_mobilenetv3_…`
    need `symmetric=False`.

    Attributes, beside those of `Inverted`:
      large: Whether it is the large network, with six stages, or the small one, with five.
    """

    large: bool = True
    eps: float | None = 1e-3

    @property
    def rows(self):
        """The table of the network: `LARGE` or `SMALL`."""
        return LARGE if self.large else SMALL

    @property
    def blocks(self):
        return tuple(
            tuple(Widths(*row, scaled(row[0] // 4) if squeeze else 0) for row in rows) for _, squeeze, rows in self.rows
        )

    def parts(self):
        styles = [self.style(act, nn.relu, nn.hard_sigmoid) for act, _, _ in self.rows]
        ends = (16, 6 * self.blocks[-1][-1].features)
        return {
            **self.trunk(ends, self.style(nn.hard_swish), styles),
            "fc": partial(Wide, 1280 if self.large else 1024, self.dtype),
            "head": partial(Head, self.num_classes, self.dropout, self.dtype),
        }


MODELS = {
    "mobilenet_v3_small": partial(MobileNetV3, large=False),
    "mobilenet_v3_large": partial(MobileNetV3),
}
