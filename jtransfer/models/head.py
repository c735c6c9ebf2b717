"""The stages that end most image models."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers


class GlobalPool(nn.Module):
    """The mean over height and width."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b c"]:
        return layers.global_avg_pool(x)


class Head(nn.Module):
    """Dropout and one dense layer; logits are float32 whatever the computation's dtype."""

    num_classes: int
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b c"], *, train: bool = False) -> Float[Array, "b k"]:
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x).astype(jnp.float32)
