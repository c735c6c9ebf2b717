"""Attention: the one place that calls `jax.nn.dot_product_attention`, which takes flash kernels where there are any."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Mask = Bool[Array, "#b #h #q n"]


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017).

    Parameters: `query`, `key`, `value` and `out`, each a dense layer with a kernel [features, features]; the heads are
    the consecutive parts of query, key and value. So a low-rank adapter or a sharding rule sees plain matrices.

    Attributes:
      heads: number of heads; divides the features.
      dtype: of the computation.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32
    kernel_init: Callable = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Mask | None = None) -> Float[Array, "b n d"]:
        """`mask` is False where a position must not be looked at."""
        features = x.shape[-1]

        def dense(name):
            return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, name=name)

        shape = (*x.shape[:-1], self.heads, features // self.heads)
        q, k, v = (dense(name)(x).reshape(shape) for name in ("query", "key", "value"))
        y = jax.nn.dot_product_attention(q, k, v, mask=mask)
        return dense("out")(y.reshape(x.shape))
