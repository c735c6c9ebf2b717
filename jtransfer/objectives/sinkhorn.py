"""Optimal transport between two sets of weighted points, regularised by entropy: Sinkhorn's algorithm in logarithms."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.types import Array

_HALVINGS = 0.8  # of the regularisation from one iteration to the next, until it is epsilon


def transport(
    cost: Float[Array, "n m"],
    a: Float[Array, " n"],
    b: Float[Array, " m"],
    *,
    epsilon: Array | float,
    iterations: int = 100,
) -> Array:
    """Returns min ⟨P, cost⟩ + epsilon · KL(P ‖ a bᵀ) over the plans P with the marginals a and b, float32 [].

    It tends to the cost of optimal transport as `epsilon` tends to 0. Its gradient by the cost is the plan, by the
    envelope theorem, so that no iteration is differentiated; none goes through the weights and `epsilon`. The
    regularisation begins at the greatest cost and falls to `epsilon`, which is how it converges where that is small.

    Args:
      cost: Of the pairs of points.
      a: Weights of the first points that sum to 1; 0 leaves a point out.
      b: Weights of the second points.
      epsilon: The regularisation, in units of the cost, more than 0.
      iterations: Updates of both potentials.

    References:
      Cuturi, Sinkhorn Distances, arXiv:1306.0895, 2013.
    """
    fixed = jax.lax.stop_gradient(cost.astype(jnp.float32))
    a, b, epsilon = (jax.lax.stop_gradient(jnp.asarray(x, jnp.float32)) for x in (a, b, epsilon))
    log_a, log_b = jnp.log(a), jnp.log(b)
    greatest = jnp.where((a[:, None] > 0) & (b > 0), fixed, 0).max()

    def update(i, potentials):
        _, g = potentials
        now = jnp.maximum(epsilon, greatest * _HALVINGS**i)
        f = -now * jax.nn.logsumexp(log_b + (g - fixed) / now, axis=1)
        g = -now * jax.nn.logsumexp(log_a[:, None] + (f[:, None] - fixed) / now, axis=0)
        return f, g

    f, g = jax.lax.fori_loop(0, iterations, update, (jnp.zeros(len(a)), jnp.zeros(len(b))))
    plan = jnp.exp(log_a[:, None] + log_b + (f[:, None] + g - fixed) / epsilon)
    return a @ f + b @ g + (plan * (cost - fixed)).sum()


def squared_distances(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Returns the squared Euclidean distances of the points of two sets, float32."""
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    inner = jnp.matmul(x, y.T, precision="highest")
    return jnp.maximum((x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * inner, 0)
