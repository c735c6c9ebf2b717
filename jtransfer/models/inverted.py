"""Inverted bottlenecks (arXiv:1801.04381): what MobileNet and EfficientNet are made of."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.models.chain import ImageChain
from jtransfer.models.head import GlobalPool


@dataclasses.dataclass(frozen=True)
class Style:
    """What all layers of a model share.

    Attributes:
      act: after a batch norm; `squeeze_act` and `gate`: inside squeeze-and-excitation.
      symmetric: PyTorch's padding, not TensorFlow's "SAME".
      eps: of batch norm. TensorFlow's 1e-3 comes with a momentum of 0.99, PyTorch's 1e-5 with 0.9.
    """

    act: Callable
    squeeze_act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    symmetric: bool = True
    eps: float = 1e-5
    dtype: jnp.dtype = jnp.float32


class Widths(NamedTuple):
    """A block: channels inside and at its end, kernel, strides, channels of the squeeze (0: none), stochastic depth."""

    wide: int
    features: int
    kernel: int
    strides: int = 1
    squeeze: int = 0
    drop_path: float = 0.0


class ConvNorm(nn.Module):
    """Convolution, batch norm and, if `act`, the activation."""

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
    """Widen, filter each channel, weigh the channels, narrow; a residual where shapes agree."""

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
        return x + nn.Dropout(drop_path, broadcast_dims=(1, 2, 3))(y, deterministic=not train)


class Stage(nn.Module):
    """Blocks, one after the other."""

    blocks: tuple[Widths, ...]
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b i j f"]:
        for j, widths in enumerate(self.blocks):
            x = Block(widths, self.style, name=f"block{j}")(x, train=train)
        return x


class Inverted(ImageChain):
    """stem → stage1 … → conv_head → pool → what a family adds.

    Attributes:
      dropout: before the last dense layer.
      drop_path: stochastic depth (arXiv:1603.09382) of the last block; it falls linearly to 0 at the first.
      symmetric: PyTorch's padding, as in weights that were trained in PyTorch, and not TensorFlow's "SAME".
      eps: of batch norm; by default PyTorch's 1e-5 if `symmetric`, else TensorFlow's 1e-3. Parameters have the same
        names and shapes whatever `symmetric` and `eps` are, so nothing but the accuracy shows a wrong choice.
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
        """The style with these activations and the model's fields."""
        eps = self.eps or (1e-5 if self.symmetric else 1e-3)
        return Style(act, squeeze_act, gate, self.symmetric, eps, self.dtype)

    def trunk(
        self, ends: tuple[int, int], style: Style, styles: Iterable[Style]
    ) -> dict[str, Callable[..., nn.Module]]:
        """The stages up to the pool.

        Args:
          ends: channels of the first and the last convolution, and `style` theirs.
          styles: of each stage.
        """
        stem, last = (partial(ConvNorm, ends[0], 3, 2, style), partial(ConvNorm, ends[1], 1, 1, style))
        stages = zip(self.blocks, styles, strict=True)
        middle = {f"stage{i}": partial(Stage, blocks, own) for i, (blocks, own) in enumerate(stages, 1)}
        return {"stem": stem, **middle, "conv_head": last, "pool": GlobalPool}


def scaled(features: float, width: float = 1.0, divisor: int = 8) -> int:
    """`width * features` rounded to a multiple of `divisor`, but never down by more than a tenth."""
    wanted = width * features
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


def expanded(
    channels: int, rows: Sequence[tuple[int, int, int, int, int]], squeeze: bool, drop_path: float
) -> tuple[tuple[Widths, ...], ...]:
    """The blocks of each stage of a network in which every block widens its own input by a factor.

    Args:
      channels: what enters the first stage.
      rows: of each stage, expansion, features, blocks, kernel, strides of the first block.
      squeeze: squeeze to a quarter of the block's input channels.
      drop_path: of a block after the last.
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
