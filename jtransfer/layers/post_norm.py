"""The layer of transformer encoders such as BERT, with norms after the residuals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.attention import Attention
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.layer_norm import LayerNorm
from jtransfer.layers.recomputed import recomputed
from jtransfer.layers.seen import padding
from jtransfer.layers.types import DType


class PostNorm(nn.Module):
    """Attention, then a two-layer network, each followed by a residual connection and a layer norm.

    It takes and returns a dict with "x" [batch, positions, features] and "mask" bool [batch, 1, 1, positions], False
    where there is padding, or "lengths", see `seen.padding`. All other entries of the dict are passed on.

    Attributes:
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the network.
      eps: Added to the variance in the layer norms.
      activation: The activation of the network, a name in `layers.activation.ACTIVATIONS`.
      dropout: The rate in training of what attention and network add to the residual.
      attention_dropout: The rate in training of attention weights.
      attention_kernel: What computes the attention, see `layers.attend`.
      kernel_init: The initialiser of all kernels.
      dtype: The dtype of the computation.

    References:
      Vaswani et al., Attention Is All You Need, arXiv:1706.03762, 2017.
      Devlin et al., BERT, arXiv:1810.04805, 2018.
    """

    num_heads: int
    mlp_dim: int
    eps: float = 1e-12
    activation: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention_kernel: str = "auto"
    kernel_init: Callable = nn.initializers.normal(0.02)
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: dict[str, Any], *, train: bool = False) -> dict[str, Any]:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init)

        def add(x, y, norm):
            y = Dropout(self.dropout)(y, deterministic=not train)
            return LayerNorm(self.eps, dtype=self.dtype, name=norm)(x + y)

        x = stream["x"]
        attention = Attention(
            self.num_heads,
            self.dtype,
            dropout=self.attention_dropout,
            kernel_init=self.kernel_init,
            kernel=self.attention_kernel,
            name="attention",
        )
        x = add(x, attention(x, **padding(stream), train=train), "norm1")
        y = dense(self.mlp_dim, name="fc1")(x)
        y = recomputed(ACTIVATIONS[self.activation], partial(dense, x.shape[-1], name="fc2"), y)
        return {**stream, "x": add(x, y, "norm2")}
