"""EfficientNet (Tan & Le 2019, arXiv:1905.11946) and EfficientNet-Lite (github.com/tensorflow/tpu)."""

import math
from functools import partial

import flax.linen as nn

from jtransfer.models.chain import Pixels
from jtransfer.models.head import Head
from jtransfer.models.inverted import Inverted, expanded, scaled
from jtransfer.models.stages import by_stage

# of each stage at width and depth 1: expansion, features, number of blocks, kernel size, strides of the first block
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


class EfficientNet(Inverted):
    """EfficientNet, a chain of the stages stem → stage1 … stage7 → conv_head → pool → head.

    Weights that were trained in PyTorch need `symmetric=True`: torchvision's `efficientnet_b0` … `b7` (B5 to B7 with
    `eps=1e-3`, which is their default here) and timm's `efficientnet_b0` … (always 1e-5). Those from TensorFlow need
    `symmetric=False`: timm's `tf_efficientnet_b0` … and transformers'.

    Attributes, beside those of `Inverted`:
      width: The factor of all numbers of features.
      depth: The factor of the numbers of blocks.
    """

    width: float = 1.0
    depth: float = 1.0
    drop_path: float = 0.2

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks of each stage."""
        return tuple(math.ceil(self.depth * row[2]) for row in STAGES)

    @property
    def ends(self) -> tuple[int, int]:
        """The numbers of channels of the first and the last convolution."""
        return scaled(32, self.width), scaled(1280, self.width)

    @property
    def squeezes(self) -> bool:
        """Whether blocks have squeeze-and-excitation."""
        return True

    @property
    def blocks(self):
        rows = [
            (expansion, scaled(features, self.width), depth, kernel, strides)
            for depth, (expansion, features, _, kernel, strides) in by_stage(depths=self.depths, stages=STAGES)
        ]
        return expanded(self.ends[0], rows, self.squeezes, self.drop_path)

    def parts(self):
        style = self.style(nn.silu, nn.silu) if self.squeezes else self.style(nn.relu6)
        head = partial(Head, self.num_classes, self.dropout, self.dtype)
        return {**self.trunk(self.ends, style, [style] * len(STAGES)), "head": head}


class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite: an EfficientNet with ReLU6, without squeeze-and-excitation, and with ends of a fixed size.

    The ends, which do not grow with `width` and `depth`, are the stem, the first stage, the last stage and the last
    convolution.

    timm's `tf_efficientnet_lite0.in1k` and the original weights need the default fields, timm's
    `efficientnet_lite0.ra_in1k` needs `symmetric=True`.
    """

    symmetric: bool = False
    pixels: Pixels = Pixels((127 / 255,) * 3, (128 / 255,) * 3, 0.875, "bicubic")

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks of each stage."""
        return (STAGES[0][2], *super().depths[1:-1], STAGES[-1][2])

    @property
    def ends(self) -> tuple[int, int]:
        return 32, 1280

    @property
    def squeezes(self) -> bool:
        return False


def _compound(image_size: int, width: float, depth: float, dropout: float, eps: float | None = None) -> partial:
    pixels = Pixels(crop=round(image_size / (image_size + 32), 3), interpolation="bicubic")
    fields = {"width": width, "depth": depth, "dropout": dropout, "eps": eps, "pixels": pixels}
    return partial(EfficientNet, image_size=image_size, **fields)


MODELS = {
    "efficientnet_b0": _compound(224, 1.0, 1.0, 0.2),
    "efficientnet_b1": _compound(240, 1.0, 1.1, 0.2),
    "efficientnet_b2": _compound(260, 1.1, 1.2, 0.3),
    "efficientnet_b3": _compound(300, 1.2, 1.4, 0.3),
    "efficientnet_b4": _compound(380, 1.4, 1.8, 0.4),
    "efficientnet_b5": _compound(456, 1.6, 2.2, 0.4, 1e-3),
    "efficientnet_b6": _compound(528, 1.8, 2.6, 0.5, 1e-3),
    "efficientnet_b7": _compound(600, 2.0, 3.1, 0.5, 1e-3),
    "efficientnet_lite0": partial(EfficientNetLite, image_size=224),
    "efficientnet_lite1": partial(EfficientNetLite, depth=1.1, image_size=240),
    "efficientnet_lite2": partial(EfficientNetLite, width=1.1, depth=1.2, dropout=0.3, image_size=260),
    "efficientnet_lite3": partial(EfficientNetLite, width=1.2, depth=1.4, dropout=0.3, image_size=280),
    "efficientnet_lite4": partial(EfficientNetLite, width=1.4, depth=1.8, dropout=0.3, image_size=300),
}
