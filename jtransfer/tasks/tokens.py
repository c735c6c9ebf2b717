"""What tasks over tokens share: sums over each example's tokens."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import optax

from jtransfer import metrics
from jtransfer.tasks.base import Table


def keep_sums(logits, labels):
    """Of each example: the sum of its tokens' losses in nats, how many tokens that is over, and how many are right.

    Args:
      logits: [B, n, C], computed in float32.
      labels: int32 [B, n]; -1 where a token has none.
    """
    real = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), jnp.maximum(labels, 0))
    right = (jnp.argmax(logits, -1) == labels) & real
    return {"loss": jnp.sum(losses, -1, where=real), "tokens": real.sum(-1), "right": right.sum(-1)}


def hits(logits, labels):
    """Which tokens have their greatest logit at the label, bool [B, n]."""
    return jnp.argmax(logits, -1) == labels


def score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Loss and perplexity over all tokens, and the share that is right."""
    yield from metrics.language(table["loss"], table["tokens"])
    yield "accuracy", float(table["right"].sum() / max(table["tokens"].sum(), 1))
