"""How far apart two sets of features are, by kernels (maximum mean discrepancy), for domain adaptation.

Statistics are over the whole batch and over real examples alone: what stands under a mask can't matter.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.types import Array

Features = Float[Array, "B d"]
Mask = Bool[Array, " B"] | None
ALPHAS = (0.5, 1.0, 2.0)


def mk_mmd(source: Features, target: Features, masks: tuple[Mask, Mask] = (None, None), *, alphas=ALPHAS) -> Array:
    """Returns the squared distance of two sets in the space of a sum of Gaussian kernels, float32 [].

    Long et al. 2015 (arXiv:1502.02791), the unbiased estimate: the mean over the pairs of two different examples of one
    set, of both sets added up, less twice the mean over all pairs across. It may be below zero.

    Args:
      source, target: features; computed in float32.
      masks: False where an example of the source, or of the target, is padding.
      alphas: a kernel for each, exp(-d² / (2 · alpha · mean d²)); the mean is over all pairs of the joint batch, and no
        gradient is taken of it.
    """
    return joint_mmd([(source, target)], masks, alphas=[alphas])


def joint_mmd(
    layers: Sequence[tuple[Any, Any]],
    masks: tuple[Mask, Mask] = (None, None),
    *,
    alphas: Sequence[Sequence[float]],
    sigmas: Sequence[float | None] | None = None,
) -> Array:
    """Returns the distance of the joint distribution of several layers: kernels of the layers are multiplied.

    Long et al. 2017 (arXiv:1605.06636). With one layer it is `mk_mmd`.

    Args:
      layers: (source, target) of each layer, features [B, d] of any width.
      masks: as of `mk_mmd`.
      alphas: of each layer, as of `mk_mmd`.
      sigmas: of a layer, the width of one kernel exp(-d² / (2 sigma²)) in place of those of `alphas`; None for none.
    """
    sigmas = [None] * len(layers) if sigmas is None else sigmas
    real = jnp.concatenate([_mask(x, mask) for x, mask in zip(layers[0], masks, strict=True)])
    kernel = jnp.ones((len(real), len(real)), jnp.float32)
    for (source, target), widths, sigma in zip(layers, alphas, sigmas, strict=True):
        joint = jnp.concatenate([source, target]).astype(jnp.float32)
        kernel = kernel * _kernels(joint, real, widths, sigma)
    return (kernel * _signs(len(layers[0][0]), real)).sum()


def _mask(x: Features, mask: Mask) -> Array:
    return jnp.ones(len(x), jnp.float32) if mask is None else mask.astype(jnp.float32)


def _kernels(x: Features, real: Array, alphas: Sequence[float], sigma: float | None) -> Array:
    """The sum of kernels of all pairs [2B, 2B]."""
    squares = squared_distances(x)
    if sigma is not None:
        return jnp.exp(-squares / (2 * sigma**2))
    pairs = real[:, None] * real
    mean = jax.lax.stop_gradient((squares * pairs).sum() / jnp.maximum(pairs.sum(), 1))
    mean = jnp.where(mean > 0, mean, 1)
    return sum((jnp.exp(-squares / (2 * alpha * mean)) for alpha in alphas), jnp.zeros_like(squares))


def _signs(count: int, real: Array) -> Array:
    """The weight of each pair: in a set they add up to 1, without those of an example and itself; across to -2."""
    source = (jnp.arange(len(real)) < count) * real
    target = real - source
    within = sum(
        own[:, None] * own * (1 - jnp.eye(len(real))) / jnp.maximum(own.sum() * (own.sum() - 1), 1)
        for own in (source, target)
    )
    across = source[:, None] * target / jnp.maximum(source.sum() * target.sum(), 1)
    return within - across - across.T


def squared_distances(x: Features, y: Features | None = None) -> Array:
    """Returns the squared Euclidean distance of each row of x to each row of y, or of x itself, float32."""
    y = x if y is None else y
    product = jnp.matmul(x, y.T, precision="highest")
    squares = (x * x).sum(-1)[:, None] + (y * y).sum(-1) - 2 * product
    return jnp.maximum(squares, 0)
