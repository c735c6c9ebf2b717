"""Averages of a model's outputs over several views of the same examples.

Each function takes the outputs [V, B, …] of V views, and a temperature T by which the average will be divided. In
float32; what has probabilities is averaged as probabilities: those of `average / T` are the means of those of
`outputs / T`.
"""

from typing import Any

import jax
import jax.numpy as jnp


def numbers(outputs: Any, temperature: float = 1.0) -> Any:
    """Returns the mean of numbers or of embeddings."""
    return jnp.mean(outputs.astype(jnp.float32), 0)


def classes(logits: Any, temperature: float = 1.0) -> Any:
    """Returns the logits [B, C] of the mean probabilities of classes."""
    return temperature * _log_mean(jax.nn.log_softmax(logits.astype(jnp.float32) / temperature))


def several(logits: Any, temperature: float = 1.0) -> Any:
    """Returns the logits [B, C] of the mean probabilities of classes that are independent of each other."""
    logits = logits.astype(jnp.float32) / temperature
    yes, no = _log_mean(jax.nn.log_sigmoid(logits)), _log_mean(jax.nn.log_sigmoid(-logits))
    return temperature * (yes - no)


def _log_mean(logs: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(logs, 0) - jnp.log(len(logs))
