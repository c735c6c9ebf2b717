"""Two tokenizations of one text: the pieces of text whose ends they share, and how probable two models take them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jtransfer.layers.types import Array

NONE = -1
Ends = Sequence[int] | np.ndarray
Known = Sequence[bool] | np.ndarray


def align(ends_a: Ends, ends_b: Ends, known_a: Known = (), known_b: Known = ()) -> tuple[np.ndarray, np.ndarray]:
    """Returns the chunks of a text in two tokenizations: int32 [n] and [m], the number of the chunk of each token.

    A chunk is the shortest run of tokens, on both sides, that ends at a character where a token of either side ends.
    Tokens of the same tokenizer are chunks each by itself, but for those that end at the same character, as the bytes
    of a letter do, which are one. The number of a token that is in no chunk is -1: of one that stands for no text, such
    as a mark at its beginning or end, of one after the last common end, and of one in a chunk that is not whole.

    Args:
      ends_a, ends_b: for each token the place in the text where it ends, a number above 0 that grows along the text; -1
        for tokens that stand for no text.
      known_a, known_b: whether the probability of each token is known, () if all are; a chunk with one that isn't is
        left out, for its own is not.
    """
    sides = [np.asarray(ends, np.int64).reshape(-1) for ends in (ends_a, ends_b)]
    known = [
        np.asarray(k, bool) if len(k) else np.ones(len(ends), bool)
        for k, ends in zip((known_a, known_b), sides, strict=True)
    ]
    reached = [np.maximum.accumulate(ends) if len(ends) else ends for ends in sides]
    common = np.intersect1d(reached[0][reached[0] > 0], reached[1][reached[1] > 0])
    found = [
        np.where(ends >= 0, np.searchsorted(common, up_to), NONE) for ends, up_to in zip(sides, reached, strict=True)
    ]
    found = [np.where(chunk < len(common), chunk, NONE) for chunk in found]
    whole = np.ones(len(common), bool)
    for chunk, told in zip(found, known, strict=True):
        whole[chunk[(chunk != NONE) & ~told]] = False
    numbers = np.append(np.where(whole, np.cumsum(whole) - 1, NONE), NONE)
    return tuple(numbers[chunk].astype(np.int32) for chunk in found)  # pyright: ignore[reportReturnType]


def divergence(
    log_q: Float[Array, "B n"], chunks: Int[Array, "B n"], log_p: Float[Array, "B m"]
) -> tuple[Float[Array, "B m"], Float[Array, "B m"]]:
    """Returns how far the student is from the teacher in each chunk, and 1 where there is a chunk, else 0; float32.

    A chunk is as probable as the product over its tokens. It is compared with all that might stand in its place as one:
    the result is the divergence KL(teacher ‖ student) of "this text or another", which is 0 where both take the text to
    be as probable.

    Args:
      log_q: the student's log-probabilities of the tokens of the text.
      chunks: the number of each token's chunk, -1 for none.
      log_p: the teacher's log-probabilities of the chunks.
    """
    number = log_p.shape[1]
    places = jnp.where(chunks < 0, number, chunks)

    def sums(x: Array) -> Array:
        return jax.vmap(lambda row, i: jax.ops.segment_sum(row, i, number + 1))(x, places)[:, :number]

    there = jnp.minimum(sums(jnp.ones_like(log_q, jnp.float32)), 1)
    student = jnp.where(there > 0, sums(log_q.astype(jnp.float32)), -1.0)
    teacher = jnp.where(there > 0, jax.lax.stop_gradient(log_p).astype(jnp.float32), -1.0)
    p = jnp.exp(teacher)
    rest = jnp.where(p < 1, (1 - p) * (_log_rest(teacher) - _log_rest(student)), 0.0)
    return there * (p * (teacher - student) + rest), there


def _log_rest(log_p: Array) -> Array:
    """log(1 − p), finite also where p is rounded to 1."""
    near = jnp.minimum(log_p, -1e-7)
    return jnp.where(near > -0.6931472, jnp.log(-jnp.expm1(near)), jnp.log1p(-jnp.exp(jnp.minimum(near, -0.5))))
