"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381)."""

from functools import partial

import flax.linen as nn

from jtransfer.models.head import Head
from jtransfer.models.inverted import Inverted, expanded, scaled

# of each stage at width 1: expansion, features, number of blocks, kernel size, strides of the first block
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 32, 3, 3, 2),
    (6, 64, 4, 3, 2),
    (6, 96, 3, 3, 1),
    (6, 160, 3, 3, 2),
    (6, 320, 1, 3, 1),
)


class MobileNetV2(Inverted):
    """MobileNetV2, a chain of the stages stem → stage1 … stage7 → conv_head → pool → head.

    torchvision's and timm's weights need the default fields, transformers' (from TensorFlow) `symmetric=False`.

    Attributes, beside those of `Inverted`:
      width: The factor of all numbers of features.
    """

    width: float = 1.0

    @property
    def ends(self) -> tuple[int, int]:
        """The numbers of channels of the first and the last convolution."""
        return scaled(32, self.width), scaled(1280, max(1.0, self.width))

    @property
    def blocks(self):
        rows = [
            (factor, scaled(features, self.width), n, kernel, stride) for factor, features, n, kernel, stride in STAGES
        ]
        return expanded(self.ends[0], rows, False, self.drop_path)

    def parts(self):
        style = self.style(nn.relu6)
        head = partial(Head, self.num_classes, self.dropout, self.dtype)
        return {**self.trunk(self.ends, style, [style] * len(STAGES)), "head": head}


MODELS = {"mobilenet_v2": partial(MobileNetV2)}
