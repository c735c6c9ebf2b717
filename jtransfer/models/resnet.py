"""ResNet and its kin: ResNeXt, Wide ResNet, ResNet-C, -D, -S and -T, SE-ResNet and ResNet-RS.

The networks are those called v1.5, in which the 3×3 convolution of a bottleneck has the stride, not the first 1×1.

References:
  He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, 2015.
  Zagoruyko & Komodakis, Wide Residual Networks, arXiv:1605.07146, 2016.
  Xie et al., Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431, 2016.
  Hu et al., Squeeze-and-Excitation Networks, arXiv:1709.01507, 2017.
  He et al., Bag of Tricks for Image Classification with Convolutional Neural Networks, arXiv:1812.01187, 2018.
  Bello et al., Revisiting ResNets: Improved Training and Scaling Strategies, arXiv:2103.07579, 2021.
"""

import dataclasses
import math
import re
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool, Head

_conv = partial(layers.Conv, use_bias=False, kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"))
_norm = partial(layers.BatchNorm, momentum=0.9, epsilon=1e-5)


class Stem(nn.Module):
    """A 7×7 convolution with stride 2, or three of 3×3, with batch norm and activation; and a max-pool with stride 2.

    Attributes:
      features: The number of channels of the output.
      kind: "", one convolution; "deep", three, of which the first two have half the channels; or "deep_tiered", of
        which the first has three eighths.
      pool: Whether the end is a max-pool, and not a 3×3 convolution with stride 2, batch norm and activation.
      activation: A name in `layers.activation.ACTIVATIONS`.
      dtype: The dtype of the computation.
    """

    features: int = 64
    kind: str = ""
    pool: bool = True
    activation: str = "relu"
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        def layer(x, features, kernel, strides, end):
            x = _conv(features, kernel, strides, kernel // 2, dtype=self.dtype, name=f"conv{end}")(x)
            x = _norm(dtype=self.dtype, name=f"bn{end}")(x, use_running_average=not train)
            return ACTIVATIONS[self.activation](x)

        if self.kind:
            half = self.features // 2
            x = layer(x, 3 * (half // 4) if self.kind == "deep_tiered" else half, 3, 2, "1")
            x = layer(layer(x, half, 3, 1, "2"), self.features, 3, 1, "")
        else:
            x = layer(x, self.features, 7, 2, "")
        return layers.max_pool(x, 3, 2, 1) if self.pool else layer(x, self.features, 3, 2, "_pool")


class Shortcut(nn.Module):
    """A 1×1 convolution with batch norm, which brings the input of a block to the shape of its output.

    Attributes:
      features: The number of channels of the output.
      strides: The stride.
      average: Whether a mean over 2×2 pixels has the stride, and not the convolution.
      dtype: The dtype of the computation.
    """

    features: int
    strides: int
    average: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        strides = 1 if self.average else self.strides
        if self.average and self.strides > 1:
            height, width = (side % self.strides for side in x.shape[1:3])
            x = layers.avg_pool(x, 2, self.strides, ((0, height), (0, width)), count_include_pad=False)
        x = _conv(self.features, 1, strides, 0, dtype=self.dtype, name="conv")(x)
        return _norm(dtype=self.dtype, name="bn")(x, use_running_average=not train)


@dataclasses.dataclass(frozen=True)
class Style:
    """What all blocks have in common: fields of `ResNet`."""

    bottleneck: bool
    cardinality: int
    base_width: int
    avg_down: bool
    se_ratio: float
    downsample_in_bottleneck: bool
    activation: str
    inner_activation: str
    dtype: DType

    def convolutions(self, width: int, strides: int) -> tuple[tuple[int, int, int, int], ...]:
        """Features, kernel, strides and groups of the convolutions of a block, in order."""
        if not self.bottleneck:
            return (width, 3, strides, 1), (width, 3, 1, 1)
        inner = math.floor(width * self.base_width / 64) * self.cardinality
        first, second = (strides, 1) if self.downsample_in_bottleneck else (1, strides)
        return (inner, 1, first, 1), (inner, 3, second, self.cardinality), (4 * width, 1, 1, 1)


class Block(nn.Module):
    """A residual block: two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1, each with batch norm.

    Attributes:
      width: The number of channels at the end; a bottleneck ends with four times as many.
      strides: The stride, of the first 3×3 convolution or, if the style says so, of the first 1×1.
      style: What the block has in common with the others.
    """

    width: int
    strides: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        style, y = self.style, x
        for k, (features, kernel, strides, groups) in enumerate(style.convolutions(self.width, self.strides), 1):
            y = ACTIVATIONS[style.inner_activation](y) if k > 1 else y
            y = _conv(features, kernel, strides, kernel // 2, groups, dtype=style.dtype, name=f"conv{k}")(y)
            y = _norm(dtype=style.dtype, name=f"bn{k}")(y, use_running_average=not train)
        features = y.shape[-1]
        if style.se_ratio:
            y = layers.SqueezeExcite(squeezed(features, style.se_ratio), dtype=style.dtype, name="squeeze")(y)
        if self.strides > 1 or x.shape[-1] != features:
            x = Shortcut(features, self.strides, style.avg_down, style.dtype, name="shortcut")(x, train=train)
        return ACTIVATIONS[style.activation](x + y)


def squeezed(channels: int, ratio: float) -> int:
    """The number of features inside squeeze-and-excitation: a part of the channels, as the nearest multiple of 8."""
    return max(8, int(channels * ratio + 4) // 8 * 8)


class Stage(nn.Module):
    """Blocks in a row; the first one has the strides. The fields are those of `Block`, and `depth`, their number."""

    depth: int
    width: int
    strides: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j in range(self.depth):
            x = Block(self.width, self.strides if j == 0 else 1, self.style, name=f"block{j}")(x, train=train)
        return x


class ResNet(ImageChain):
    """ResNet, a chain of the stages stem → stage1 … stage4 → pool → head.

    Attributes, beside those of `ImageChain`:
      depths: The number of blocks of each stage.
      bottleneck: Whether blocks are bottlenecks (from ResNet-50 on) and not pairs of 3×3 convolutions.
      widths: The number of channels at the end of each stage; bottlenecks end with four times as many.
      embedding_size: The number of channels at the end of the stem.
      stem_type: "", one 7×7 convolution; "deep", three of 3×3 (ResNet-C, -D and -S); or "deep_tiered", three of which
        each is wider than the one before it (ResNet-T).
      replace_stem_pool: Whether the stem ends with a convolution with stride 2 in place of its max-pool (ResNet-RS).
      cardinality: The number of groups of the 3×3 convolution of a bottleneck (ResNeXt).
      base_width: The number of channels of each of these groups in a stage of width 64: 64 in ResNet, 128 in a Wide
        ResNet, 4 in ResNeXt 32×4d.
      avg_down: Whether the shortcuts take a mean over 2×2 pixels and not every second pixel (ResNet-D and -T).
      se_ratio: The features inside the squeeze-and-excitation at the end of each block, as a part of its channels; 0
        means that there is none.
      activation: The activation after the stem and after each block, a name in `layers.activation.ACTIVATIONS`.
      inner_activation: The one inside blocks; None means the same. It is "relu" in all ResNets of transformers.
      downsample_in_first_stage: Whether the first stage has stride 2, too.
      downsample_in_bottleneck: Whether the first 1×1 convolution of a bottleneck has the stride, not the 3×3 (v1).
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512)
    embedding_size: int = 64
    stem_type: str = ""
    replace_stem_pool: bool = False
    cardinality: int = 1
    base_width: int = 64
    avg_down: bool = False
    se_ratio: float = 0.0
    activation: str = "relu"
    inner_activation: str | None = None
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def parts(self):
        style = self._style()
        stem = (self.embedding_size, self.stem_type, not self.replace_stem_pool, self.activation, self.dtype)
        strides = [2 if self.downsample_in_first_stage else 1] + [2] * len(self.depths)
        stages = {
            f"stage{i}": partial(Stage, depth, width, stride, style)
            for i, (depth, width, stride) in enumerate(zip(self.depths, self.widths, strides, strict=False), 1)
        }
        head = partial(Head, self.num_classes, dtype=self.dtype)
        return {"stem": partial(Stem, *stem), **stages, "pool": GlobalPool, "head": head}

    def _style(self) -> Style:
        """The style of the blocks, once the fields are found to agree with each other."""
        inner = self.inner_activation or self.activation
        for name in (self.activation, inner):
            if name not in ACTIVATIONS:
                raise unknown("activation", name, ACTIVATIONS)
        if self.stem_type not in STEMS:
            raise unknown("stem_type", self.stem_type, STEMS)
        if len(self.widths) < len(self.depths):
            raise InputError(f"{len(self.depths)} depths need as many widths; given are {list(self.widths)}")
        if not self.bottleneck and (self.cardinality, self.base_width) != (1, 64):
            raise InputError("cardinality and base_width are those of bottlenecks; set bottleneck=True")
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(Style)}
        given["inner_activation"] = inner
        return Style(**given)


STEMS = ("", "deep", "deep_tiered")
_BASIC = {"10": (1, 1, 1, 1), "18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
_BOTTLENECK = {
    "14": (1, 1, 1, 1),
    "26": (2, 2, 2, 2),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
    "269": (3, 30, 48, 8),
}
_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "c": {"stem_type": "deep"},
    "d": {"stem_type": "deep", "avg_down": True},
    "s": {"stem_type": "deep", "embedding_size": 128},
    "t": {"stem_type": "deep_tiered", "avg_down": True},
}
_NAME = re.compile(r"(wide_|se)?resnex?t(\d+)([cdst]?)(?:_(?:2|(\d+)x(\d+)d))?")
_NAMES = """
resnet10t resnet14t resnet18 resnet18d resnet26 resnet26d resnet26t resnet34 resnet34d resnet50 resnet50c resnet50d
resnet50s resnet50t resnet101 resnet101c resnet101d resnet101s resnet152 resnet152c resnet152d resnet152s resnet200
resnet200d wide_resnet50_2 wide_resnet101_2 resnext50_32x4d resnext50d_32x4d resnext101_32x4d resnext101_32x8d
resnext101_32x16d resnext101_32x32d resnext101_64x4d seresnet18 seresnet34 seresnet50 seresnet50t seresnet101
seresnet152 seresnet152d seresnet200d seresnet269d seresnext26d_32x4d seresnext26t_32x4d seresnext50_32x4d
seresnext101_32x4d seresnext101_32x8d seresnext101d_32x8d seresnext101_64x4d
"""
_RS = {
    **{depth: _BOTTLENECK[depth] for depth in ("50", "101", "152", "200")},
    "270": (4, 29, 53, 4),
    "350": (4, 36, 72, 4),
    "420": (4, 44, 87, 4),
}
_RS_FIELDS = {"bottleneck": True, "se_ratio": 0.25, "replace_stem_pool": True, **_VARIANTS["d"]}


def _fields(name: str) -> dict[str, Any]:
    """The fields of the model of a name, which is made up as timm's names are."""
    found = _NAME.fullmatch(name)
    assert found, name
    kind, depth, variant, groups, width = found.groups()
    fields = {"depths": _BASIC.get(depth) or _BOTTLENECK[depth], "bottleneck": depth in _BOTTLENECK}
    fields |= {"cardinality": int(groups), "base_width": int(width)} if groups else {}
    fields |= {"wide_": {"base_width": 128}, "se": {"se_ratio": 1 / 16}, None: {}}[kind]
    return fields | _VARIANTS[variant]


MODELS = {
    **{name: partial(ResNet, **_fields(name)) for name in _NAMES.split()},
    **{f"resnetrs{n}": partial(ResNet, depths=depths, **_RS_FIELDS) for n, depths in _RS.items()},
}
