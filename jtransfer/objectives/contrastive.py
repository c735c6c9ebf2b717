"""The contrastive loss of pairs of embeddings that belong together."""

import jax.numpy as jnp
import optax
from jaxtyping import Float

from jtransfer.layers import l2_normalize
from jtransfer.layers.types import Array


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
    x = l2_normalize(embeddings)
    scores = x[:, 0] @ x[:, 1].T / temperature
    own = jnp.arange(len(scores))
    forth = optax.softmax_cross_entropy_with_integer_labels(scores, own)
    return (forth + optax.softmax_cross_entropy_with_integer_labels(scores.T, own)) / 2 if symmetric else forth
