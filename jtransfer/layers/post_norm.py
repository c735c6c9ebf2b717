"""The block of the first transformer encoders, with norms after the residuals (Vaswani et al. 2017, BERT)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.attention import Attention
from jtransfer.layers.layer_norm import LayerNorm


class PostNorm(nn.Module):
    """Attention and a two-layer network, each beside a residual and before a layer norm.

    It takes and returns a dict with "x" [b, n, d] and "mask" bool [b, 1, 1, n]; whatever else is in it stays.

    Attributes:
      num_heads: number of attention heads.
      mlp_dim: features inside of the network.
      eps: of the norms.
      activation: of the network, one of `ACTIVATIONS`.
      dropout, attention_dropout: rates in training, of what is added to the residual and of attention weights.
    """

    num_heads: int
    mlp_dim: int
    eps: float = 1e-12
    activation: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: dict[str, Any], *, train: bool = False) -> dict[str, Any]:
        def dense(features, name, y):
            return nn.Dense(features, dtype=self.dtype, kernel_init=self.kernel_init, name=name)(y)

        def add(x, y, norm):
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
            return LayerNorm(self.eps, dtype=self.dtype, name=norm)(x + y)

        x = stream["x"]
        attention = Attention(
            self.num_heads, self.dtype, dropout=self.attention_dropout, kernel_init=self.kernel_init, name="attention"
        )
        x = add(x, attention(x, mask=stream["mask"], train=train), "norm1")
        y = ACTIVATIONS[self.activation](dense(self.mlp_dim, "fc1", x))
        return {**stream, "x": add(x, dense(x.shape[-1], "fc2", y), "norm2")}
