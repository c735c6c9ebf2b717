"""Windows as shifted views: what a k×k window sees at each of its k² positions is a strided slice of the padded map.

Convolutions and pooling become sums and maxima of such views, which XLA's CPU compiler turns into vector loops.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


def out_size(size: Pair, window: Pair, strides: Pair, pads: Pads) -> Pair:
    """Height and width of the output."""
    return tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in zip(size, window, strides, pads, strict=True))


def taps(
    x: Float[Array, "b h w c"], window: Pair, strides: Pair, pads: Pads, fill: float = 0.0
) -> list[Float[Array, "b i j c"]]:
    """The map as seen from each position of the window, row by row; the padding holds `fill`."""
    (i, j), (sh, sw), (b, _, _, c) = out_size(x.shape[1:3], window, strides, pads), strides, x.shape
    x = lax.pad(x, jnp.asarray(fill, x.dtype), ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))
    return [
        lax.slice(x, (0, m, n, 0), (b, m + (i - 1) * sh + 1, n + (j - 1) * sw + 1, c), (1, sh, sw, 1))
        for m in range(window[0])
        for n in range(window[1])
    ]


def untaps(
    sources: Sequence[Float[Array, "b i j c"]],
    term: Callable[..., Float[Array, "b i j c"]],
    size: Pair,
    window: Pair,
    strides: Pair,
    pads: Pads,
) -> Float[Array, "b h w c"]:
    """The transpose of `taps`: the window's output adds `term(k, *sources)` to what it saw at its position k.

    With stride s, row s·m + a was seen at positions k ≡ a + pad (mod s) alone, so each of the s phases is a sum of
    shifted views without holes; the phases are interleaved at the end. `term` must map zeros to zeros.

    Args:
      sources: arrays of the output's shape.
      term: elementwise in the sources; k counts the window's positions row by row.
      size: of the map that `taps` saw.
    """
    axes = [_Axis(*axis) for axis in zip(size, sources[0].shape[1:3], window, strides, pads, strict=True)]
    (b, _, _, c), (sh, sw) = sources[0].shape, strides
    edges = ((0, 0, 0), *((*axis.edges, 0) for axis in axes), (0, 0, 0))
    padded = [lax.pad(source, jnp.zeros((), source.dtype), edges) for source in sources]

    def phase(row: int, column: int):
        terms = [
            term(
                m * window[1] + n,
                *(lax.slice(p, (0, i, j, 0), (b, i + axes[0].length, j + axes[1].length, c)) for p in padded),
            )
            for m, i in axes[0].positions(row)
            for n, j in axes[1].positions(column)
        ]
        return reduce(jnp.add, terms) if terms else jnp.zeros((b, axes[0].length, axes[1].length, c), sources[0].dtype)

    if strides == (1, 1):
        return phase(0, 0)
    rows = [jnp.stack([phase(row, column) for column in range(sw)], axis=3) for row in range(sh)]
    merged = jnp.stack(rows, axis=2).reshape(b, axes[0].length * sh, axes[1].length * sw, c)
    return merged[:, : size[0], : size[1]]


class _Axis(NamedTuple):
    """One spatial axis of `untaps`: where the padded outputs lie that saw a position of the map."""

    size: int
    outputs: int
    window: int
    stride: int
    pads: Pair

    @property
    def length(self) -> int:
        """Positions of one phase."""
        return -(-self.size // self.stride)

    @property
    def edges(self) -> Pair:
        """How far the shifts reach beyond the outputs, before and after."""
        shifts = [shift for phase in range(self.stride) for _, shift in self._shifts(phase)]
        return -min(shifts), max(shifts) + self.length - self.outputs

    def positions(self, phase: int) -> list[Pair]:
        """(k, start) of the window positions that fall on `phase`: the padded output start + m saw its row m at k."""
        return [(k, shift + self.edges[0]) for k, shift in self._shifts(phase)]

    def _shifts(self, phase: int) -> list[Pair]:
        return [
            (k, (phase + self.pads[0] - k) // self.stride)
            for k in range((phase + self.pads[0]) % self.stride, self.window, self.stride)
        ]
