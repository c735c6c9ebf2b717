"""Decoders with rotary positions and gated networks: Llama and its like.

References:
  Llama, arXiv:2302.13971, 2023, and arXiv:2407.21783, 2024. Qwen2, arXiv:2407.10671, 2024. Qwen3, arXiv:2505.09388,
  2025. Mistral, arXiv:2310.06825, 2023. Gemma, arXiv:2403.08295, 2024. Gemma 2, arXiv:2408.00118, 2024.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jtransfer import layers
from jtransfer.layers.recomputed import recomputed
from jtransfer.layers.rms_norm import RMSNorm
from jtransfer.layers.rotary import rotate
from jtransfer.layers.seen import padding
from jtransfer.layers.types import DType
from jtransfer.models.causal import Causal, Stream

ACTIVATIONS = {"silu": nn.silu, "gelu_tanh": partial(nn.gelu, approximate=True)}
_init = nn.initializers.normal(0.02)


class Layer(nn.Module):
    """Attention and a gated network, each after a norm and with a residual connection.

    Attributes:
      attention: The constructor of the attention.
      norm: The constructor of the norms.
      mlp_dim: The number of features inside the network.
      activation: The activation of its gate, a name in `ACTIVATIONS`.
      mlp_bias: Whether its three dense layers have biases.
      post_norms: Whether the outputs of attention and network are normalised, too.
      dtype: The dtype of the computation.
    """

    attention: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    mlp_dim: int
    activation: str
    mlp_bias: bool
    post_norms: bool
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = stream["x"]

        def add(x, y, name):
            return x + (self.norm(name=name)(y) if self.post_norms else y)

        dense = partial(nn.Dense, use_bias=self.mlp_bias, dtype=self.dtype, kernel_init=_init)
        y = self.norm(name="norm1")(x)
        given = {**padding(stream), "positions": stream["positions"]}
        x = add(x, self.attention(name="attention")(y, **given, train=train), "norm1_after")
        y = self.norm(name="norm2")(x)
        gate, up = dense(self.mlp_dim, name="gate")(y), dense(self.mlp_dim, name="up")(y)
        act = ACTIVATIONS[self.activation]
        y = recomputed(lambda gate, up: act(gate) * up, partial(dense, x.shape[-1], name="down"), gate, up)
        return {**stream, "x": add(x, y, "norm2_after")}


class Llama(Causal):
    """Llama and its like, a chain of the stages embed → layer_0 … → norm → head.

    Attributes, beside those of `Causal`:
      num_kv_heads: The number of heads of keys and values; None means `num_heads`.
      head_dim: The number of features of a head; None means width / num_heads.
      rope_theta: The `base` of `layers.rotary.rotate`.
      rope_scaling: The `scaling` of `layers.rotary.rotate`.
      qkv_bias: Whether queries, keys and values have biases.
      out_bias: Whether the output of attention has a bias.
      mlp_bias: Whether the dense layers of the networks have biases.
      qk_norm: Whether the queries and keys of each head are normalised (Qwen3).
      window: A token attends to this many of the last tokens only, itself included; None means to all.
      window_every: One layer in this many has the window, the first one included (Gemma 2: 2).
      activation: The activation of the networks' gates, a name in `ACTIVATIONS`.
      norm_offset: Added to the scales of the norms (Gemma: 1).
      embedding_scale: The factor of token embeddings (Gemma: √width); None means no factor.
      post_norms: Whether the outputs of attention and networks are normalised, too (Gemma 2).
      query_scale: Attention logits are divided by its square root; None means `head_dim`.
      attention_softcap: The bound of attention logits, reached smoothly (Gemma 2); None means no bound.
      logit_softcap: The bound of the logits, likewise.
    """

    vocab_size: int = 32000
    max_length: int = 4096
    width: int = 4096
    depth: int = 32
    num_heads: int = 32
    mlp_dim: int = 11008
    eps: float = 1e-5
    num_kv_heads: int | None = None
    head_dim: int | None = None
    rope_theta: float = 10000.0
    rope_scaling: tuple[float, ...] = ()
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    window: int | None = None
    window_every: int = 1
    activation: str = "silu"
    norm_offset: float = 0.0
    embedding_scale: float | None = None
    post_norms: bool = False
    query_scale: int | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None

    def norm(self) -> Callable[..., nn.Module]:
        return partial(RMSNorm, self.eps, offset=self.norm_offset, dtype=self.dtype)

    def layer(self, i: int) -> Callable[..., nn.Module]:
        attention = partial(
            layers.Attention,
            self.num_heads,
            self.dtype,
            causal=True,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            use_bias=self.qkv_bias,
            out_bias=self.out_bias,
            scale=None if self.query_scale is None else self.query_scale**-0.5,
            dropout=self.attention_dropout,
            rotate=partial(rotate, base=self.rope_theta, scaling=self.rope_scaling),
            kernel_init=_init,
            norm=self.norm() if self.qk_norm else None,
            window=self.window if i % self.window_every == 0 else None,
            softcap=self.attention_softcap,
            kernel=self.attention_kernel,
        )
        size = (self.mlp_dim, self.activation, self.mlp_bias, self.post_norms)
        return partial(Layer, attention, self.norm(), *size, dtype=self.dtype)


def _gemma(width: int, **fields) -> dict:
    return {
        "vocab_size": 256000,
        "max_length": 8192,
        "width": width,
        "embedding_scale": width**0.5,
        "head_dim": 256,
        "eps": 1e-6,
        "activation": "gelu_tanh",
        "norm_offset": 1.0,
        "tied": True,
        "pad": 0,
        **fields,
    }


_LLAMA3 = {"vocab_size": 128256, "num_kv_heads": 8, "mlp_dim": 14336, "rope_theta": 500000.0}
_LONG = {"max_length": 131072, "tied": True}
_LLAMA32 = {**_LLAMA3, **_LONG, "rope_scaling": (32.0, 1.0, 4.0, 8192)}
_QWEN2 = {"vocab_size": 151936, "max_length": 32768, "eps": 1e-6, "rope_theta": 1e6, "qkv_bias": True, "pad": 151643}
_QWEN3 = {**_QWEN2, "max_length": 40960, "qkv_bias": False, "qk_norm": True, "head_dim": 128}
_GEMMA2 = {"post_norms": True, "window": 4096, "window_every": 2, "attention_softcap": 50.0, "logit_softcap": 30.0}

MODELS = {
    "llama2_7b": partial(Llama),
    "llama3_8b": partial(Llama, **_LLAMA3, max_length=8192),
    "llama3_1_8b": partial(Llama, **_LLAMA3, max_length=131072, rope_scaling=(8.0, 1.0, 4.0, 8192)),
    "llama3_2_1b": partial(Llama, **{**_LLAMA32, "width": 2048, "depth": 16, "mlp_dim": 8192}),
    "llama3_2_3b": partial(
        Llama, **{**_LLAMA32, "width": 3072, "depth": 28, "num_heads": 24, "mlp_dim": 8192, "head_dim": 128}
    ),
    "tinyllama_1b": partial(Llama, max_length=2048, width=2048, depth=22, num_kv_heads=4, mlp_dim=5632),
    "smollm2_135m": partial(
        Llama,
        vocab_size=49152,
        max_length=8192,
        width=576,
        depth=30,
        num_heads=9,
        num_kv_heads=3,
        mlp_dim=1536,
        rope_theta=100000.0,
        tied=True,
    ),
    "qwen2_0_5b": partial(Llama, **_QWEN2, width=896, depth=24, num_heads=14, num_kv_heads=2, mlp_dim=4864, tied=True),
    "qwen2_1_5b": partial(Llama, **_QWEN2, width=1536, depth=28, num_heads=12, num_kv_heads=2, mlp_dim=8960, tied=True),
    "qwen2_7b": partial(
        Llama, **{**_QWEN2, "vocab_size": 152064}, width=3584, depth=28, num_heads=28, num_kv_heads=4, mlp_dim=18944
    ),
    "qwen3_0_6b": partial(Llama, **_QWEN3, width=1024, depth=28, num_heads=16, num_kv_heads=8, mlp_dim=3072, tied=True),
    "mistral_7b": partial(Llama, max_length=32768, num_kv_heads=8, mlp_dim=14336, window=4096),
    "gemma_2b": partial(Llama, **_gemma(2048, depth=18, num_heads=8, num_kv_heads=1, mlp_dim=16384)),
    "gemma_7b": partial(Llama, **_gemma(3072, depth=28, num_heads=16, mlp_dim=24576)),
    "gemma2_2b": partial(
        Llama, **_gemma(2304, depth=26, num_heads=8, num_kv_heads=4, mlp_dim=9216, query_scale=256, **_GEMMA2)
    ),
}
