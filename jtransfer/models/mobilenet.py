"""MobileNetV2 (arXiv:1801.04381) and MobileNetV3 (arXiv:1905.02244)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer.models.head import Head
from jtransfer.models.inverted import Inverted, Widths, expanded, scaled

# expansion, features, blocks, kernel, strides of each stage at width 1
V2 = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 32, 3, 3, 2),
    (6, 64, 4, 3, 2),
    (6, 96, 3, 3, 1),
    (6, 160, 3, 3, 2),
    (6, 320, 1, 3, 1),
)


class MobileNetV2(Inverted):
    """stem → stage1 … stage7 → conv_head → pool → head.

    torchvision's and timm's weights want the defaults, transformers' (from TensorFlow) `symmetric=False`.

    Attributes:
      width: multiplier of features.
    """

    width: float = 1.0

    @property
    def ends(self) -> tuple[int, int]:
        """Channels of the first and the last convolution."""
        return scaled(32, self.width), scaled(1280, max(1.0, self.width))

    @property
    def blocks(self):
        rows = [(expansion, scaled(features, self.width), *rest) for expansion, features, *rest in V2]
        return expanded(self.ends[0], rows, False, self.drop_path)

    def parts(self):
        style = self.style(nn.relu6)
        head = partial(Head, self.num_classes, self.dropout, self.dtype)
        return {**self.trunk(self.ends, style, [style] * len(V2)), "head": head}


# of each stage: activation, squeeze, and of each block: channels inside, at its end, kernel, strides
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
    """A dense layer on the pooled features, with hard-swish."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b f"]:
        return nn.hard_swish(nn.Dense(self.features, dtype=self.dtype, name="dense")(x))


class MobileNetV3(Inverted):
    """stem → stage1 … → conv_head → pool → fc → head.

    torchvision's weights want the defaults, timm's `mobilenetv3_…` `eps=1e-5`, timm's `tf_mobilenetv3_…`
    `symmetric=False`.

    Attributes:
      large: the large network, with six stages, or the small one, with five.
    """

    large: bool = True
    eps: float | None = 1e-3

    @property
    def rows(self):
        """The network's table."""
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
    "mobilenet_v2": partial(MobileNetV2),
    "mobilenet_v3_small": partial(MobileNetV3, large=False),
    "mobilenet_v3_large": partial(MobileNetV3),
}
