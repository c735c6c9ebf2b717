"""A bias of attention by relative position, in buckets that widen with the distance (Raffel et al. 2020)."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class RelativeBias(nn.Module):
    """The bias of attention's logits, for all layers at once; its parameter is `table` [num_buckets, num_heads].

    Attributes:
      num_heads: number of heads.
      num_buckets: number of buckets, of both directions together.
      max_distance: distances from here on share the last bucket.
      both_ways: whether keys after a query have buckets of their own; otherwise they are as good as at its place.
    """

    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    both_ways: bool = True

    @nn.compact
    def __call__(self, queries: int, keys: int, first: int | Int[Array, ""] = 0) -> Float[Array, "1 h q m"]:
        """The bias of queries at `first`, `first` + 1, … and keys at 0, 1, …, float32."""
        table = self.param("table", nn.initializers.normal(0.1), (self.num_buckets, self.num_heads))
        ahead = jnp.arange(keys) - (first + jnp.arange(queries)[:, None])
        found = bucket(ahead, self.num_buckets, self.max_distance, self.both_ways)
        return table[found].transpose(2, 0, 1)[None]


def bucket(ahead: Int[Array, "q m"], num_buckets: int, max_distance: int, both_ways: bool) -> Int[Array, "q m"]:
    """The bucket of a key that lies `ahead` places after its query (before it, where negative).

    Half of a direction's buckets are of one distance each, the others' bounds grow geometrically up to `max_distance`.
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
