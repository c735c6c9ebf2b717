"""Windows over a feature map as shifted views of it.

What a k×k window sees at each of its k² positions, over the whole map, is a strided slice of the padded map. So
convolutions and pooling become sums and maxima of such slices, which XLA's CPU compiler turns into vector loops.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Num

from jtransfer.layers.types import Array

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

NO_PADS = ((0, 0), (0, 0))


def sides(x: Num[Array, "b h w c"]) -> Pair:
    """Height and width of a map."""
    return x.shape[1], x.shape[2]


def out_size(size: Pair, window: Pair, strides: Pair, pads: Pads) -> Pair:
    """Height and width of the output of a window that moves over a map of `size`."""
    height, width = ((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in zip(size, window, strides, pads, strict=True))
    return height, width


def pad(x: Num[Array, "b h w c"], pads: Pads, fill: float = 0.0) -> Num[Array, "b H W c"]:
    """Pads height and width of a map with `fill`; negative widths crop it."""
    return lax.pad(x, jnp.asarray(fill, x.dtype), ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))


def window_views(x: Num[Array, "b H W c"], window: Pair, strides: Pair) -> list[Num[Array, "b i j c"]]:
    """What each position of the window sees of a padded map: one view for each position, row by row."""
    (i, j), (sh, sw), (b, _, _, c) = out_size(sides(x), window, strides, NO_PADS), strides, x.shape
    return [
        lax.slice(x, (0, m, n, 0), (b, m + (i - 1) * sh + 1, n + (j - 1) * sw + 1, c), (1, sh, sw, 1))
        for m in range(window[0])
        for n in range(window[1])
    ]


def transposed_views(
    y: Num[Array, "b i j c"], size: Pair, window: Pair, strides: Pair, pads: Pads
) -> list[list[tuple[int, Num[Array, "b m n c"]]]]:
    """The transpose of `window_views`: for each pixel of a map, the outputs of the windows that saw it.

    With stride s, the pixels of one phase (row, column modulo s) were seen at the same positions of the window. So each
    of the s² phases, row by row, has pairs (k, view): `view` holds, for each pixel of the phase, the output of the
    window that saw it at its position k, or zero. The transpose of `window_views` is the sum over k in each phase,
    merged.
    """
    rows, columns = (_Axis(*axis) for axis in zip(size, y.shape[1:3], window, strides, pads, strict=True))
    b, _, _, c = y.shape
    y = pad(y, (rows.edges, columns.edges))
    return [
        [
            (m * window[1] + n, lax.slice(y, (0, i, j, 0), (b, i + rows.length, j + columns.length, c)))
            for m, i in rows.positions(row)
            for n, j in columns.positions(column)
        ]
        or [(0, jnp.zeros((b, rows.length, columns.length, c), y.dtype))]
        for row in range(strides[0])
        for column in range(strides[1])
    ]


def merge(phases: Sequence[Num[Array, "b m n c"]], size: Pair, strides: Pair) -> Num[Array, "b h w c"]:
    """Puts the phases of a map, in the order of `transposed_views`, together to the map of `size`."""
    if strides == (1, 1):
        return phases[0]
    sh, sw = strides
    rows = [jnp.stack(phases[row * sw : (row + 1) * sw], axis=3) for row in range(sh)]
    (b, m, n, c), (h, w) = phases[0].shape, size
    return jnp.stack(rows, axis=2).reshape(b, m * sh, n * sw, c)[:, :h, :w]


class _Axis(NamedTuple):
    """One spatial axis: where, in the padded outputs, those lie that saw a pixel."""

    size: int
    outputs: int
    window: int
    stride: int
    pads: Pair

    @property
    def length(self) -> int:
        """Pixels of one phase."""
        return -(-self.size // self.stride)

    @property
    def edges(self) -> Pair:
        """How far the shifts reach beyond the outputs, before and after."""
        shifts = [shift for phase in range(self.stride) for _, shift in self._shifts(phase)]
        return -min(shifts), max(shifts) + self.length - self.outputs

    def positions(self, phase: int) -> list[Pair]:
        """(k, start) of the window positions that fall on `phase`: the padded output start + m saw its pixel m at k."""
        return [(k, shift + self.edges[0]) for k, shift in self._shifts(phase)]

    def _shifts(self, phase: int) -> list[Pair]:
        return [
            (k, (phase + self.pads[0] - k) // self.stride)
            for k in range((phase + self.pads[0]) % self.stride, self.window, self.stride)
        ]
