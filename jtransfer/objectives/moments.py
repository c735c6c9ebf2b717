"""Distances of two sets of features by their moments, and penalties on singular values and lengths."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.types import Array

Features = Float[Array, "B d"]
Mask = Bool[Array, " B"] | None


def coral(source: Features, target: Features, masks: tuple[Mask, Mask] = (None, None)) -> Array:
    """Returns ‖C_source − C_target‖² / (4 d²), float32 [], of the covariances: Deep CORAL (Sun & Saenko 2016,
    arXiv:1607.01719).

    Args:
      source, target: features; computed in float32.
      masks: False where an example of the source, or of the target, is padding.
    """
    (_, first), (_, second) = (_moments(x, mask) for x, mask in zip((source, target), masks, strict=True))
    return jnp.square(first - second).sum() / (4 * source.shape[-1] ** 2)


def mean_coral(source: Features, target: Features, masks: tuple[Mask, Mask] = (None, None)) -> Array:
    """Returns the mean squared difference of the means plus that of the covariances, float32 []: the form of the
    Transfer Learning Library. Arguments are as of `coral`."""
    (mean_s, first), (mean_t, second) = (_moments(x, mask) for x, mask in zip((source, target), masks, strict=True))
    return jnp.square(mean_s - mean_t).mean() + jnp.square(first - second).mean()


def _moments(x: Features, mask: Mask) -> tuple[Array, Array]:
    """Mean [d] and covariance [d, d] (by n − 1) of the real rows."""
    x = x.astype(jnp.float32)
    real = jnp.ones(len(x), jnp.float32) if mask is None else mask.astype(jnp.float32)
    count = real.sum()
    mean = real @ x / jnp.maximum(count, 1)
    centred = (x - mean) * real[:, None]
    return mean, jnp.matmul(centred.T, centred, precision="highest") / jnp.maximum(count - 1, 1)


def bss(features: Features, mask: Mask = None, *, k: int = 1) -> Array:
    """Returns the sum of the k smallest squared singular values of a batch of features, float32 []: batch spectral
    shrinkage (Chen et al. 2019, NeurIPS)."""
    return jnp.square(singular_values(features, mask)[-k:]).sum()


def bsp(source: Features, target: Features, masks: tuple[Mask, Mask] = (None, None), *, k: int = 1) -> Array:
    """Returns the sum of the k greatest squared singular values of both sets, float32 []: batch spectral penalization
    (Chen et al. 2019, ICML)."""
    both = zip((source, target), masks, strict=True)
    return sum((jnp.square(singular_values(x, mask)[:k]).sum() for x, mask in both), jnp.zeros(()))


def singular_values(x: Features, mask: Mask = None) -> Array:
    """Returns the singular values of a batch, the greatest first, float32; rows of padding count as zeros."""
    x = x.astype(jnp.float32)
    return jnp.linalg.svd(x if mask is None else x * mask.astype(x.dtype)[:, None], compute_uv=False)


def feature_norm(features: Features, *, delta: float = 1.0) -> Float[Array, " B"]:
    """Returns, for each example, the squared difference of the length of its features and that length plus `delta`:
    stepwise adaptive feature norm (Xu et al. 2019, arXiv:1811.07456).

    Its value always is delta²; its gradient lengthens the features.

    Args:
      features: computed in float32.
      delta: by how much they are to be longer than they are.
    """
    length = jnp.sqrt(jnp.square(features.astype(jnp.float32)).sum(-1) + 1e-12)
    return jnp.square(length - (jax.lax.stop_gradient(length) + delta))
