"""What a student is to take over from a teacher: its predictions, its features, the relations among them."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers import l2_normalize
from jtransfer.layers.types import Array

Logits = Float[Array, "*B C"]
Features = Float[Array, "B d"]
Mask = Bool[Array, " B"] | None


def soft_targets(student: Logits, teacher: Logits, *, temperature: float = 4.0) -> Float[Array, "*B"]:
    """Returns T² · KL(teacher ‖ student) of each example at a temperature T (Hinton et al. 2015, arXiv:1503.02531).

    The factor T² keeps the size of the gradient, whatever the temperature.

    Args:
      student, teacher: logits of the same classes; computed in float32. No gradient is taken of the teacher's.
      temperature: both are divided by it.
    """
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature)
    return temperature**2 * (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def attention_transfer(student: Float[Array, "B h w c"], teacher: Float[Array, "B h w d"]) -> Float[Array, " B"]:
    """Returns the squared distance of where student and teacher look, of each example: the sums of squares over the
    channels of a map, scaled to length 1 (Zagoruyko & Komodakis 2017, arXiv:1612.03928).

    Args:
      student, teacher: maps of the same height and width, of any number of channels.
    """

    def looks(x):
        energy = jnp.square(x.astype(jnp.float32)).sum(-1)
        return l2_normalize(energy.reshape(len(x), -1))

    return jnp.square(looks(student) - jax.lax.stop_gradient(looks(teacher))).sum(-1)


def relations(student: Features, teacher: Features, mask: Mask = None) -> Array:
    """Returns the Huber loss between the distances of all pairs of examples as student and teacher see them, each
    divided by their mean, float32 [] (relational knowledge distillation, Park et al. 2019, arXiv:1904.05068).

    Args:
      student, teacher: features of the same examples, of any widths.
      mask: False where an example is padding.
    """
    real = jnp.ones(len(student), jnp.float32) if mask is None else mask.astype(jnp.float32)
    pairs = real[:, None] * real * (1 - jnp.eye(len(real)))
    count = jnp.maximum(pairs.sum(), 1)

    def distances(x):
        x = x.astype(jnp.float32)
        squares = jnp.square(x[:, None] - x).sum(-1)
        found = jnp.sqrt(jnp.where(pairs > 0, squares, 1) + 1e-12) * pairs
        return found / jnp.maximum(found.sum() / count, 1e-12)

    difference = jnp.abs(distances(student) - jax.lax.stop_gradient(distances(teacher)))
    huber = jnp.where(difference < 1, 0.5 * difference**2, difference - 0.5)
    return (huber * pairs).sum() / count
