"""Attention biases that depend on the distance between a query and a key."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jtransfer.layers.types import Array, Size


class RelativeBias(nn.Module):
    """The bias of attention logits by relative position, as in T5: distances share buckets that widen geometrically.

    Parameter: `table` [num_buckets, num_heads].

    Attributes:
      num_heads: The number of attention heads.
      num_buckets: The number of buckets, of both directions together.
      max_distance: All distances from here on share the last bucket.
      both_ways: Whether keys after a query have buckets of their own, as in an encoder. Otherwise they all share the
        bucket of distance 0, as in a decoder, which masks them.

    References:
      Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer,
      arXiv:1910.10683, 2019.
    """

    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    both_ways: bool = True

    @nn.compact
    def __call__(self, queries: Size, keys: Size, first: int | Int[Array, ""] = 0) -> Float[Array, "1 h q m"]:
        """Returns the bias for queries at the positions `first`, `first` + 1, … and keys at 0, 1, …, float32.

        Args:
          queries: The number of queries.
          keys: The number of keys.
          first: The position of the first query.
        """
        table = self.param("table", nn.initializers.normal(0.1), (self.num_buckets, self.num_heads))
        ahead = jnp.arange(keys) - (first + jnp.arange(queries)[:, None])
        found = bucket(ahead, self.num_buckets, self.max_distance, self.both_ways)
        return table[found].transpose(2, 0, 1)[None]


def bucket(ahead: Int[Array, "*shape"], num_buckets: int, max_distance: int, both_ways: bool) -> Int[Array, "*shape"]:
    """The bucket of each relative position.

    Half of the buckets of a direction hold one distance each; the bounds of the others grow geometrically up to
    `max_distance`.

    Args:
      ahead: The number of positions by which a key lies after its query, negative where it lies before it.
      num_buckets: The number of buckets, of both directions together.
      max_distance: All distances from here on share the last bucket.
      both_ways: Whether keys after a query have buckets of their own.
    """
    side = num_buckets // 2 if both_ways else num_buckets
    distance = jnp.abs(ahead) if both_ways else jnp.maximum(-ahead, 0)
    near = jnp.asarray(_by_distance(side, max_distance))[jnp.minimum(distance, max_distance)]
    return near + jnp.where(ahead > 0, side, 0) if both_ways else near


def _by_distance(side: int, max_distance: int) -> Int[np.ndarray, " distances"]:
    """The bucket of each distance 0 … `max_distance` in one direction."""
    exact = side // 2
    distances = np.arange(max_distance + 1, dtype=np.float32)
    share = np.log(np.maximum(distances, 1) / np.float32(exact)) / np.float32(math.log(max_distance / exact))
    wide = exact + (share * np.float32(side - exact)).astype(np.int32)
    return np.where(distances < exact, distances, np.minimum(wide, side - 1)).astype(np.int32)
