"""An embedding of tokens, whose table also gives the logits of the next one."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
from flax.linen import dtypes
from jax import lax
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array

FEW = 64  # queries


class TiedEmbed(nn.Embed):
    """Flax's `Embed`, with the same parameter `embedding`, arguments and results, and faster generation on a CPU."""

    promote_dtype: Callable[..., Any] = dtypes.promote_dtype

    def attend(self, query: Float[Array, "*b d"]) -> Float[Array, "*b n"]:
        """Returns the products of queries with all embeddings.

        XLA's CPU compiler reads a matrix along its rows only where it stands on the left. For a few queries, as in a
        step of a generation, most of the time goes into reading it.
        """
        *leading, features = query.shape
        few = all(isinstance(size, int) for size in leading) and math.prod(leading) <= FEW
        if not (few and dispatch.on_cpu()):
            return super().attend(query)
        query, embedding = self.promote_dtype(query, self.embedding, dtype=self.dtype)
        logits = lax.optimization_barrier(embedding @ query.reshape(-1, features).T)  # XLA would turn it round again
        return logits.T.reshape(*leading, -1)
