"""Losses of texts: numbers to predict, pairs of embeddings that belong together, and which tokens count."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def mse(logits: Float[Array, "*B 1"], labels: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """`(logit - label)²`, in float32; logits may lack the last axis."""
    return jnp.square(_numbers(logits, labels) - labels.astype(jnp.float32))


def huber(logits: Float[Array, "*B 1"], labels: Float[Array, "*B"], *, delta: float = 1.0) -> Float[Array, "*B"]:
    """`d²/2` up to a distance d of `delta`, and `delta·(d - delta/2)` beyond (Huber 1964), in float32."""
    return optax.huber_loss(_numbers(logits, labels), labels.astype(jnp.float32), delta=delta)


def contrastive(
    embeddings: Float[Array, "B 2 d"],
    labels: Array | None = None,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
) -> Float[Array, " B"]:
    """`-log softmax(cos(a[i], b[·]) / temperature)[i]`: the other pairs of the batch are the wrong answers.

    One way it is multiple negatives ranking (Henderson et al. 2017), both ways InfoNCE as in CLIP (Oord et al. 2018).

    Args:
      embeddings: a[i] and b[i] belong together; computed in float32 and scaled to length 1.
      labels: not looked at.
      temperature: 0.05 is a scale of 20.
      symmetric: the mean of finding b for a and a for b.
    """
    x = embeddings.astype(jnp.float32)
    x = x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-24))
    scores = x[:, 0] @ x[:, 1].T / temperature
    own = jnp.arange(len(scores))
    forth = optax.softmax_cross_entropy_with_integer_labels(scores, own)
    return (forth + optax.softmax_cross_entropy_with_integer_labels(scores.T, own)) / 2 if symmetric else forth


def counted(labels: Int[Array, "B n"], mask: Bool[Array, " B"] | None = None) -> Bool[Array, "B n"]:
    """Which tokens a loss is taken of: those with a label (not -1) in real examples."""
    return labels >= 0 if mask is None else (labels >= 0) & mask.astype(bool)[:, None]


def _numbers(logits, labels):
    logits = logits.astype(jnp.float32)
    return logits[..., 0] if logits.ndim > labels.ndim else logits
