"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners")."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jtransfer import layers
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.recomputed import recomputed
from jtransfer.layers.seen import padding
from jtransfer.layers.types import DType
from jtransfer.models.causal import Causal, Stream

_init = nn.initializers.normal(0.02)
_gelu = partial(nn.gelu, approximate=True)


class Layer(nn.Module):
    """Attention and a two-layer network, each after a layer norm and with a residual connection.

    Attributes:
      attention: The constructor of the attention.
      norm: The constructor of the norms.
      mlp_dim: The number of features inside the network.
      dropout: The rate in training of what is added to the residual.
      dtype: The dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    mlp_dim: int
    dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = stream["x"]
        drop = Dropout(self.dropout, deterministic=not train)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=_init)
        y = self.attention(name="attention")(self.norm(name="norm1")(x), **padding(stream), train=train)
        x = x + drop(y)
        y = dense(self.mlp_dim, name="fc1")(self.norm(name="norm2")(x))
        return {**stream, "x": x + drop(recomputed(_gelu, partial(dense, x.shape[-1], name="fc2"), y))}


class GPT2(Causal):
    """GPT-2, a chain of the stages embed → layer_0 … → norm → head. The fields are those of `Causal`."""

    vocab_size: int = 50257
    max_length: int = 1024
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    eps: float = 1e-5
    dropout: float = 0.1
    attention_dropout: float = 0.1
    tied: bool = True

    learned_positions = True

    def norm(self) -> Callable[..., nn.Module]:
        return partial(layers.LayerNorm, self.eps, dtype=self.dtype)

    def layer(self, i: int) -> Callable[..., nn.Module]:
        attention = partial(
            layers.Attention,
            self.num_heads,
            self.dtype,
            causal=True,
            dropout=self.attention_dropout,
            kernel_init=_init,
            kernel=self.attention_kernel,
        )
        return partial(Layer, attention, self.norm(), self.mlp_dim, self.dropout, dtype=self.dtype)


MODELS = {
    "gpt2": partial(GPT2),
    "gpt2_medium": partial(GPT2, width=1024, depth=24, num_heads=16, mlp_dim=4096),
    "gpt2_large": partial(GPT2, width=1280, depth=36, num_heads=20, mlp_dim=5120),
    "gpt2_xl": partial(GPT2, width=1600, depth=48, num_heads=25, mlp_dim=6400),
    "distilgpt2": partial(GPT2, depth=6),
}
