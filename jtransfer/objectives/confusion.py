"""What predictions for unlabelled examples say of themselves: entropy, confusion of classes, diversity."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.types import Array

Logits = Float[Array, "B C"]
Mask = Bool[Array, " B"] | None


def entropy(logits: Logits) -> Float[Array, " B"]:
    """Returns the entropy of the predicted distribution of each example, in nats, float32."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -(jnp.exp(log_p) * log_p).sum(-1)


def diversity(logits: Logits, mask: Mask = None) -> Array:
    """Returns the entropy of the mean prediction of a batch, in nats, float32 []; great if all classes occur."""
    mean = _mean(jax.nn.softmax(logits.astype(jnp.float32)), mask)
    return -(mean * jnp.log(mean + jnp.finfo(jnp.float32).tiny)).sum()


def class_shares(logits: Logits, mask: Mask = None) -> Float[Array, " C"]:
    """Returns the mean prediction of each class, by the greatest of them, float32; no gradient goes through it."""
    mean = jax.lax.stop_gradient(_mean(jax.nn.softmax(logits.astype(jnp.float32)), mask))
    return mean / mean.max()


def information(logits: Logits, mask: Mask = None) -> Array:
    """Returns the mutual information of example and prediction, float32 []: `diversity` less the mean `entropy`."""
    return diversity(logits, mask) - _mean(entropy(logits)[:, None], mask)[0]


def nuclear_norm(logits: Logits, mask: Mask = None) -> Array:
    """Returns the sum of the singular values of the predictions of a batch, by the number of its examples, float32 []
    (batch nuclear-norm maximization, Cui et al. 2020, arXiv:2003.12237)."""
    p, real = jax.nn.softmax(logits.astype(jnp.float32)), _real(logits, mask)
    return jnp.linalg.svd(p * real[:, None], compute_uv=False).sum() / jnp.maximum(real.sum(), 1)


def minimum_class_confusion(logits: Logits, mask: Mask = None, *, temperature: float = 2.5) -> Array:
    """Returns how often classes are taken for each other, float32 []: minimum class confusion (Jin et al. 2020,
    arXiv:1912.03699).

    Examples count by their certainty, 1 + exp(−entropy), of which no gradient is taken.

    Args:
      logits: of unlabelled examples; computed in float32.
      mask: False where an example is padding.
      temperature: the logits are divided by it.
    """
    real, scaled = _real(logits, mask), logits.astype(jnp.float32) / temperature
    p = jax.nn.softmax(scaled)
    certainty = (1 + jnp.exp(-entropy(scaled))) * real
    weight = jax.lax.stop_gradient(certainty * real.sum() / jnp.maximum(certainty.sum(), 1e-12))
    confusion = jnp.matmul((p * weight[:, None]).T, p, precision="highest")
    confusion = confusion / jnp.maximum(confusion.sum(1, keepdims=True), 1e-12)
    return (confusion.sum() - jnp.trace(confusion)) / logits.shape[-1]


def _real(logits: Logits, mask: Mask) -> Array:
    return jnp.ones(len(logits), jnp.float32) if mask is None else mask.astype(jnp.float32)


def _mean(x: Float[Array, "B k"], mask: Mask) -> Float[Array, " k"]:
    real = _real(x, mask)
    return real @ x / jnp.maximum(real.sum(), 1)
