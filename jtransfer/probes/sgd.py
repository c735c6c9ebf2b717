"""Linear probes that are trained by SGD, a grid of settings as one compiled program."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jtransfer.core.errors import InputError
from jtransfer.probes import checks


class Trained(NamedTuple):
    """Linear classifiers, for R rates, L strengths and S seeds.

    Attributes:
      kernel: float [R, L, S, D, C].
      bias: float [R, L, S, C].
      losses: float [R, L, S, steps], the mean cross-entropy of each batch.
    """

    kernel: np.ndarray
    bias: np.ndarray
    losses: np.ndarray


def sgd(
    features: ArrayLike,
    labels: ArrayLike,
    rates: Sequence[float],
    l2: Sequence[float] = (0.0,),
    seeds: Sequence[int] = (0,),
    *,
    num_classes: int | None = None,
    epochs: int = 10,
    batch_size: int = 256,
    momentum: float = 0.9,
) -> Trained:
    """Trains a linear classifier for each rate, strength and seed, all in one compiled program.

    It is SGD with momentum, of a rate that falls as a cosine, and begins with zeros. A step minimises the mean
    cross-entropy of a batch plus `l2 / 2` times the squared norm of the kernel. A seed draws the order of the examples,
    anew for each epoch; those that fill no batch are passed over.

    Args:
      features: float [N, D].
      labels: int [N].
      rates: Learning rates, positive.
      l2: Strengths of the penalty, not negative.
      seeds: Of the order of the examples.
      num_classes: The number of classes; None is the greatest label and one.
      epochs: How often each example is seen.
      batch_size: The number of examples of a batch; of fewer examples, all are the batch.
      momentum: Of SGD, in [0, 1).

    Raises:
      InputError: The features are not finite, there is one class only, or an argument is out of its range.
    """
    x, y, count = checks.labelled(features, labels, num_classes)
    grid = [np.asarray(part, np.float64) for part in (rates, l2)]
    if not all(part.ndim == 1 and len(part) and np.isfinite(part).all() for part in grid) or not len(seeds):
        raise InputError("rates, l2 and seeds: give one number at least of each")
    if grid[0].min() <= 0 or grid[1].min() < 0 or epochs < 1 or batch_size < 1 or not 0 <= momentum < 1:
        raise InputError("give positive rates, epochs and batch_size, l2 of 0 or more, and momentum in [0, 1)")
    size = min(batch_size, len(x))
    orders = np.stack([_order(len(x), size, epochs, seed) for seed in seeds])
    pairs = np.array(list(itertools.product(*grid)), x.dtype)
    kernel, bias, losses = _train(x, jnp.asarray(y), pairs, orders, momentum, count)

    def shaped(part: jax.Array) -> np.ndarray:
        """[S, R·L, …] -> [R, L, S, …]"""
        return np.moveaxis(np.asarray(part), 0, 1).reshape(len(grid[0]), len(grid[1]), len(seeds), *part.shape[2:])

    return Trained(shaped(kernel), shaped(bias), shaped(losses))


def _order(count: int, size: int, epochs: int, seed: int) -> np.ndarray:
    rng, steps = np.random.default_rng(seed), count // size
    epoch = [rng.permutation(count)[: steps * size].reshape(steps, size) for _ in range(epochs)]
    return np.concatenate(epoch).astype(np.int32)


@functools.partial(jax.jit, static_argnames="count")
def _train(
    x: jax.Array, y: jax.Array, pairs: jax.Array, orders: jax.Array, momentum: ArrayLike, count: int
) -> tuple[jax.Array, ...]:
    steps = orders.shape[1]
    x = jnp.asarray(x)

    def of_seed(order: jax.Array) -> tuple[jax.Array, ...]:
        def loss(w: tuple, batch: jax.Array, truth: jax.Array, l2: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = jnp.einsum("bd,dc->bc", batch, w[0], precision="highest") + w[1]
            mean = optax.softmax_cross_entropy_with_integer_labels(logits, truth).mean()
            return mean + l2 / 2 * (w[0] ** 2).sum(), mean

        def step(carry: tuple, at: tuple) -> tuple[tuple, jax.Array]:
            number, rows = at
            cosine = (1 + jnp.cos(jnp.pi * number / steps)) / 2

            def one(w: tuple, moved: tuple, pair: jax.Array) -> tuple:
                slopes, mean = jax.grad(loss, has_aux=True)(w, x[rows], y[rows], pair[1])
                moved = jax.tree.map(lambda old, slope: momentum * old + slope, moved, slopes)
                return jax.tree.map(lambda w, moved: w - pair[0] * cosine * moved, w, moved), moved, mean

            w, moved, mean = jax.vmap(one)(carry[0], carry[1], pairs)
            return (w, moved), mean

        zeros = (jnp.zeros((len(pairs), x.shape[1], count), x.dtype), jnp.zeros((len(pairs), count), x.dtype))
        ((kernel, bias), _), losses = jax.lax.scan(step, (zeros, zeros), (jnp.arange(steps), order))
        return kernel, bias, losses.T

    return jax.lax.map(of_seed, orders)
