"""What a student is to take over from a teacher: its predictions, its features, the relations among them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jtransfer.layers import l2_normalize
from jtransfer.layers.types import Array

Logits = Float[Array, "*B C"]
Features = Float[Array, "B d"]
Maps = Float[Array, "B _ _ _"]
Mask = Bool[Array, " B"] | None
_LEAST = 1e-6  # of probability that is left


def soft_targets(student: Logits, teacher: Logits, *, temperature: float = 4.0) -> Float[Array, "*B"]:
    """Returns T² · KL(teacher ‖ student) of each example at a temperature T (Hinton et al. 2015, arXiv:1503.02531).

    The factor T² keeps the size of the gradient, whatever the temperature.

    Args:
      student, teacher: logits of the same classes; computed in float32. No gradient is taken of the teacher's.
      temperature: both are divided by it.
    """
    return divergence(student, log_mean([teacher], temperature=temperature), temperature=temperature)


def log_mean(
    teachers: Sequence[Logits], weights: Sequence[float] = (), *, temperature: float = 1.0
) -> Float[Array, "*B C"]:
    """Returns the logarithm of the mean of several teachers' probabilities, float32; no gradient is taken of it.

    Args:
      teachers: logits of the same classes.
      weights: one number for each teacher, of which the shares count; () for the same for all.
      temperature: the logits are divided by it.
    """
    shares = jnp.asarray(weights or [1.0] * len(teachers), jnp.float32)
    each = [jax.nn.log_softmax(jax.lax.stop_gradient(x).astype(jnp.float32) / temperature) for x in teachers]
    if len(each) == 1:
        return each[0]
    return jax.nn.logsumexp(jnp.stack(each, -1) + jnp.log(shares / shares.sum()), -1)


def divergence(student: Logits, log_p: Float[Array, "*B C"], *, temperature: float = 1.0) -> Float[Array, "*B"]:
    """Returns T² · KL(p ‖ student) of each example.

    Args:
      student: logits.
      log_p: logarithms of probabilities of the same classes at the temperature T.
      temperature: T, by which the student's logits are divided.
    """
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    return temperature**2 * _relative(log_p, log_q).sum(-1)


def top_targets(
    student: Logits, log_p: Float[Array, "*B k"], indices: Int[Array, "*B k"], *, temperature: float = 1.0
) -> Float[Array, "*B"]:
    """Returns T² · KL(teacher ‖ student) of each example where only the teacher's k most probable classes are known.

    All other classes count as one: what is left of the teacher's probability is compared with what is left of the
    student's. The result is at most the divergence over all classes, and equal to it at k = C.

    Args:
      student: logits.
      log_p: the teacher's log-probabilities of k classes at the temperature T.
      indices: which classes these are; no class twice.
      temperature: T, by which the student's logits are divided.
    """
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    known = jnp.take_along_axis(log_q, indices, -1)
    others = jnp.put_along_axis(log_q, indices, -jnp.inf, axis=-1, inplace=False)
    rest = jnp.clip(1 - jnp.exp(log_p).sum(-1), 0, 1)
    rest = jnp.where(rest > _LEAST, rest, 0)  # what rounding leaves of a sum of 1
    log_others = jax.nn.logsumexp(jnp.where(rest[..., None] > 0, others, 0.0), -1)
    log_rest = jnp.log(jnp.where(rest > 0, rest, 1))
    return temperature**2 * (_relative(log_p, known).sum(-1) + rest * (log_rest - log_others))


def soft_answers(
    student: Logits, teachers: Sequence[Logits], weights: Sequence[float] = (), *, temperature: float = 1.0
) -> Float[Array, "*B"]:
    """Returns T² · KL(teacher ‖ student) of yes-or-no questions, the mean over the questions of each example.

    Args:
      student: logits, one for each question.
      teachers, weights: as for `log_mean`; the mean of the teachers' probabilities counts.
      temperature: all logits are divided by it.
    """
    z = student.astype(jnp.float32) / temperature
    shares = jnp.asarray(weights or [1.0] * len(teachers), jnp.float32)
    given = [jax.lax.stop_gradient(x).astype(jnp.float32) / temperature for x in teachers]

    def log_mean_of(log_probabilities: list[Array]) -> Array:
        return jax.nn.logsumexp(jnp.stack(log_probabilities, -1) + jnp.log(shares / shares.sum()), -1)

    yes, no = (log_mean_of([jax.nn.log_sigmoid(sign * x) for x in given]) for sign in (1, -1))
    each = _relative(yes, jax.nn.log_sigmoid(z)) + _relative(no, jax.nn.log_sigmoid(-z))
    return temperature**2 * each.mean(-1)


def _relative(log_p: Array, log_q: Array) -> Array:
    """p · (log p − log q), and 0 where p is 0."""
    held = jnp.where(log_p > -jnp.inf, log_p, 0.0)
    return jnp.where(log_p > -jnp.inf, jnp.exp(held) * (held - log_q), 0.0)


def of_one_size(one: Maps, other: Maps) -> tuple[Maps, Maps]:
    """Returns maps of two networks at the smaller height and the smaller width of the two.

    A map is averaged over windows where its side is a multiple, and otherwise resized linearly with antialiasing.
    """
    height, width = (min(a, b) for a, b in zip(one.shape[1:3], other.shape[1:3], strict=True))
    return _reduced(one, height, width), _reduced(other, height, width)


def _reduced(x: Array, height: int, width: int) -> Array:
    batch, h, w, channels = x.shape
    if (h, w) == (height, width):
        return x
    if h % height == 0 and w % width == 0:
        return x.reshape(batch, height, h // height, width, w // width, channels).mean((2, 4))
    return jax.image.resize(x, (batch, height, width, channels), "linear", antialias=True)


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


def relations(student: Features, teacher: Float[Array, "B e"], mask: Mask = None) -> Array:
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
