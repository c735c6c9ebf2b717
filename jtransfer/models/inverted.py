"""Inverted bottlenecks (Sandler et al. 2018, arXiv:1801.04381), of which MobileNet and EfficientNet consist."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool


@dataclasses.dataclass(frozen=True)
class Style:
    """What the layers of a stage have in common.

    Attributes:
      act: The activation after a batch norm.
      squeeze_act: The activation inside squeeze-and-excitation.
      gate: The function that makes its factors.
      symmetric: Whether convolutions pad as PyTorch does, and not as TensorFlow's "SAME".
      eps: Added to the variance in batch norm. TensorFlow's 1e-3 comes with a momentum of 0.99, PyTorch's 1e-5 with
        one of 0.9.
      dtype: The dtype of the computation.
    """

    act: Callable
    squeeze_act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    symmetric: bool = True
    eps: float = 1e-5
    dtype: DType = jnp.float32


class Widths(NamedTuple):
    """The sizes of a block.

    Attributes:
      wide: The number of channels inside.
      features: The number of channels at the end.
      kernel: The size of the depthwise convolution's window.
      strides: Of the depthwise convolution.
      squeeze: The number of features inside squeeze-and-excitation; 0 means that there is none.
      drop_path: The rate of stochastic depth.
    """

    wide: int
    features: int
    kernel: int
    strides: int = 1
    squeeze: int = 0
    drop_path: float = 0.0


class ConvNorm(nn.Module):
    """A convolution and a batch norm, followed by the activation if `act` is set."""

    features: int
    kernel: int
    strides: int
    style: Style
    depthwise: bool = False
    act: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        style = self.style
        x = layers.Conv(
            self.features,
            self.kernel,
            self.strides,
            self.kernel // 2 if style.symmetric else "SAME",
            groups=x.shape[-1] if self.depthwise else 1,
            use_bias=False,
            dtype=style.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_in" if self.depthwise else "fan_out", "normal"),
            name="conv",
        )(x)
        momentum = 0.99 if style.eps == 1e-3 else 0.9
        norm = layers.BatchNorm(momentum=momentum, epsilon=style.eps, dtype=style.dtype, name="bn")
        x = norm(x, use_running_average=not train)
        return style.act(x) if self.act else x


class Block(nn.Module):
    """An inverted bottleneck: a 1×1 convolution to more channels, a depthwise convolution, squeeze-and-excitation if
    wanted, and a 1×1 convolution to fewer channels; with a residual connection where the shapes agree."""

    widths: Widths
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        wide, features, kernel, strides, squeeze, drop_path = self.widths
        layer = partial(ConvNorm, style=self.style)
        y = x
        if wide != x.shape[-1]:
            y = layer(wide, 1, 1, name="expand")(y, train=train)
        y = layer(wide, kernel, strides, depthwise=True, name="depthwise")(y, train=train)
        if squeeze:
            gate = (self.style.squeeze_act, self.style.gate, self.style.dtype)
            y = layers.SqueezeExcite(squeeze, *gate, name="squeeze")(y)
        y = layer(features, 1, 1, act=False, name="project")(y, train=train)
        if strides > 1 or features != x.shape[-1]:
            return y
        return x + Dropout(drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)


class Stage(nn.Module):
    """Blocks in a row."""

    blocks: tuple[Widths, ...]
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j, widths in enumerate(self.blocks):
            x = Block(widths, self.style, name=f"block{j}")(x, train=train)
        return x


class Inverted(ImageChain):
    """The base of these families, a chain of the stages stem → stage1 … → conv_head → pool → what a family adds.

    Parameters have the same names and shapes whatever `symmetric` and `eps` are, so nothing but the accuracy shows a
    wrong choice.

    Attributes, beside those of `ImageChain`:
      dropout: The rate in training before the last dense layer.
      drop_path: The rate of stochastic depth (Huang et al. 2016, arXiv:1603.09382) after the last block; it falls
        linearly to 0 at the first.
      symmetric: Whether convolutions pad as PyTorch does, as weights from PyTorch need, and not as TensorFlow's "SAME".
      eps: Added to the variance in batch norm; None means PyTorch's 1e-5 if `symmetric`, else TensorFlow's 1e-3.
    """

    dropout: float = 0.2
    drop_path: float = 0.0
    symmetric: bool = True
    eps: float | None = None

    @property
    def blocks(self) -> tuple[tuple[Widths, ...], ...]:
        """The blocks of each stage."""
        raise NotImplementedError

    @property
    def depths(self) -> tuple[int, ...]:
        """The number of blocks of each stage."""
        return tuple(map(len, self.blocks))

    def style(self, act: Callable, squeeze_act: Callable = nn.relu, gate: Callable = nn.sigmoid) -> Style:
        """The `Style` with these activations, and the fields of the model."""
        eps = (1e-5 if self.symmetric else 1e-3) if self.eps is None else self.eps
        return Style(act, squeeze_act, gate, self.symmetric, eps, self.dtype)

    def trunk(
        self, ends: tuple[int, int], style: Style, styles: Iterable[Style]
    ) -> dict[str, Callable[..., nn.Module]]:
        """The constructors of the stages up to the pool, by name.

        Args:
          ends: The numbers of channels of the first and the last convolution.
          style: The style of these two.
          styles: The style of each stage.
        """
        stem, last = (partial(ConvNorm, ends[0], 3, 2, style), partial(ConvNorm, ends[1], 1, 1, style))
        stages = zip(self.blocks, styles, strict=True)
        middle = {f"stage{i}": partial(Stage, blocks, own) for i, (blocks, own) in enumerate(stages, 1)}
        return {"stem": stem, **middle, "conv_head": last, "pool": GlobalPool}


def scaled(features: float, width: float = 1.0, divisor: int = 8) -> int:
    """Rounds `width * features` to a multiple of `divisor`, but never down by more than a tenth."""
    wanted = width * features
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


def expanded(
    channels: int, rows: Sequence[tuple[int, int, int, int, int]], squeeze: bool, drop_path: float
) -> tuple[tuple[Widths, ...], ...]:
    """The blocks of each stage, where every block has a multiple of its input's channels inside.

    Args:
      channels: The number of channels that enter the first stage.
      rows: Of each stage, the factor, the number of features, of blocks, the kernel size, and the strides of the first
        block.
      squeeze: Whether blocks have squeeze-and-excitation, with a quarter of the input's channels inside.
      drop_path: The rate of stochastic depth that a block after the last would have; it starts at 0.
    """
    stages, done, total = [], 0, sum(row[2] for row in rows)
    for expansion, features, blocks, kernel, strides in rows:
        stage = []
        for j in range(blocks):
            rate = drop_path * done / total
            narrow = max(1, channels // 4) if squeeze else 0
            stage.append(Widths(expansion * channels, features, kernel, strides if j == 0 else 1, narrow, rate))
            channels, done = features, done + 1
        stages.append(tuple(stage))
    return tuple(stages)
