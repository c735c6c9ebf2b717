"""What sets features against a discriminator: gradient reversal, its schedule, and losses of two heads."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from jtransfer.layers.types import Array

Logits = Float[Array, "B C"]


@jax.custom_vjp
def reverse(x: Array, factor: Array) -> Array:
    """Returns `x`; its gradient is multiplied by −`factor` (gradient reversal, Ganin et al. 2016, arXiv:1505.07818)."""
    return x


def _forwards(x, factor):
    return x, factor


def _backwards(factor, slope):
    return -factor.astype(slope.dtype) * slope, None


reverse.defvjp(_forwards, _backwards)


def warm_up(step: Array, total_steps: int, *, gamma: float = 10.0, highest: float = 1.0) -> Array:
    """Returns the factor of the reversed gradient at a step: `highest` · (2 / (1 + exp(−gamma · p)) − 1), float32 [].

    It is a function of the step, so that it does not matter in how many parts a batch is seen.

    Args:
      step: optimizer steps so far, int32 [].
      total_steps: p is the step by this number.
      gamma: 10 is the paper's; 1 that of the Transfer Learning Library.
      highest: the factor in the end.
    """
    p = jnp.clip(step.astype(jnp.float32) / max(total_steps, 1), 0, 1)
    return highest * (2 / (1 + jnp.exp(-gamma * p)) - 1)


def from_source(scores: Float[Array, " B"], is_source: bool) -> Float[Array, " B"]:
    """Returns the loss of a discriminator that says whether examples are the source's, of each example, float32."""
    scores = scores.astype(jnp.float32)
    return optax.sigmoid_binary_cross_entropy(scores, jnp.full(scores.shape, float(is_source)))


def disparity(main: Logits, adversary: Logits) -> Float[Array, " B"]:
    """Returns the cross-entropy of an adversary with a main head's predictions as labels, of each example, float32."""
    labels = jnp.argmax(main, -1)
    return optax.softmax_cross_entropy_with_integer_labels(adversary.astype(jnp.float32), labels)


def disagreement(main: Logits, adversary: Logits) -> Float[Array, " B"]:
    """Returns log(1 − p) of each example, float32, p being what an adversary gives the main head's prediction."""
    p = jax.nn.softmax(adversary.astype(jnp.float32))
    own = jnp.take_along_axis(p, jnp.argmax(main, -1)[:, None], axis=-1)[:, 0]
    return jnp.log(jnp.minimum(1 - own + 1e-6, 1.0))


def discrepancy(first: Logits, second: Logits) -> Float[Array, " B"]:
    """Returns the mean absolute difference of two heads' predictions, of each example, float32 (maximum classifier
    discrepancy, Saito et al. 2018, arXiv:1712.02560)."""
    p, q = (jax.nn.softmax(x.astype(jnp.float32)) for x in (first, second))
    return jnp.abs(p - q).mean(-1)
