"""What tasks over tokens have in common: sums over the tokens of each example."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import optax

from jtransfer import metrics
from jtransfer.tasks.base import Table


def keep_sums(logits, labels):
    """Returns the sum of the losses, the number of tokens, and the number of correct tokens, for each example.

    Args:
      logits: The logits [B, n, C]; the losses are computed in float32.
      labels: int32 [B, n]; -1 where a token has no label.

    Returns:
      `{"loss": float32 [B], "tokens": int32 [B], "right": int32 [B]}`; the losses are in nats.
    """
    real = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), jnp.maximum(labels, 0))
    right = (jnp.argmax(logits, -1) == labels) & real
    return {"loss": jnp.sum(losses, -1, where=real), "tokens": real.sum(-1), "right": right.sum(-1)}


def hits(logits, labels):
    """Returns bool [B, n]: for which tokens the greatest logit is that of the label."""
    return jnp.argmax(logits, -1) == labels


def score(table: Table, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yields the loss and the perplexity over all tokens, and the accuracy."""
    yield from metrics.language(table["loss"], table["tokens"])
    yield "accuracy", float(table["right"].sum() / max(table["tokens"].sum(), 1))
