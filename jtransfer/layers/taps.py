"""Windows as shifted views: what a k×k window sees at each of its k² positions is a strided slice of the padded map.

Convolutions and pooling become sums and maxima of such views, which XLA's CPU compiler turns into vector loops.
"""

from collections.abc import Sequence
from functools import reduce

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
    views: Sequence[Float[Array, "b i j c"]], size: Pair, window: Pair, strides: Pair, pads: Pads
) -> Float[Array, "b h w c"]:
    """The transpose of `taps`: every view is added back where it came from, on a map of `size`.

    With stride s, row s·m + a gets window positions k ≡ a + pad (mod s) alone, so each of the s phases is a sum of
    shifted views without holes; the phases are interleaved at the end.
    """
    (h, w), (sh, sw) = size, strides
    rows = [
        jnp.stack([_phase(views, (a, e), size, window, strides, pads) for e in range(sw)], axis=3) for a in range(sh)
    ]
    b, i, j, _, c = rows[0].shape
    return jnp.stack(rows, axis=2).reshape(b, i * sh, j * sw, c)[:, :h, :w]


def _phase(views, phase: Pair, size: Pair, window: Pair, strides: Pair, pads: Pads) -> Float[Array, "b i j c"]:
    """What arrives at the positions of `phase` modulo `strides`."""
    b, i, j, c = views[0].shape
    height, width = (-(-n // s) for n, s in zip(size, strides, strict=True))
    terms = []
    for m, dm in _sources(phase[0], window[0], strides[0], pads[0][0]):
        for n, dn in _sources(phase[1], window[1], strides[1], pads[1][0]):
            edges = ((0, 0, 0), (-dm, height + dm - i, 0), (-dn, width + dn - j, 0), (0, 0, 0))
            view = views[m * window[1] + n]
            terms.append(lax.pad(view, jnp.zeros((), view.dtype), edges))
    return reduce(jnp.add, terms) if terms else jnp.zeros((b, height, width, c), views[0].dtype)


def _sources(phase: int, window: int, stride: int, pad: int) -> list[Pair]:
    """(k, shift) of the window positions that fall on `phase`: output m + shift sees row s·m + phase at k."""
    return [(k, (phase + pad - k) // stride) for k in range((phase + pad) % stride, window, stride)]
