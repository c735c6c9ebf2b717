"""Vision transformers: ViT, DeiT, DINOv2 and the image tower of SigLIP.

References:
  Dosovitskiy et al., An Image Is Worth 16x16 Words, arXiv:2010.11929, 2020.
  Touvron et al., Training Data-Efficient Image Transformers & Distillation through Attention, arXiv:2012.12877, 2020.
  Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, arXiv:2304.07193, 2023.
  Zhai et al., Sigmoid Loss for Language Image Pre-Training, arXiv:2303.15343, 2023.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer import layers
from jtransfer.core.errors import InputError
from jtransfer.layers import activation
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import ImageChain, Pixels
from jtransfer.models.head import Head

_HALF = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop=0.9, interpolation="bicubic")
_IMAGENET = Pixels(interpolation="bicubic")
_token_init = nn.initializers.normal(0.02)

ACTIVATIONS = {**activation.ACTIVATIONS, "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x)}
"""Name in a configuration → function: those of `layers.activation`, and OpenAI CLIP's approximation of GELU."""


class Embed(nn.Module):
    """Turns an image into a sequence: further tokens, then its patches row by row, plus position embeddings.

    Parameters: the convolution `patches`, `positions` [1, tokens, width], and one [1, 1, width] for each further token.

    Attributes:
      patch: The side of a patch in pixels.
      width: The number of features of a token.
      tokens: The names of the learned tokens before the patches, such as "class_token".
      norm_eps: Added to the variance in a layer norm at the end; the embedding of patches then has no bias, as in CLIP.
        None means that there is no such norm.
      dtype: The dtype of the computation.
    """

    patch: int
    width: int
    tokens: tuple[str, ...]
    norm_eps: float | None = None
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b n d"]:
        size = (self.width, self.patch, self.patch, "VALID")
        x = layers.Conv(*size, use_bias=self.norm_eps is None, dtype=self.dtype, name="patches")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        for name in reversed(self.tokens):
            token = self.param(name, _token_init, (1, 1, self.width))
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)).astype(x.dtype), x], axis=1)
        x = x + self.param("positions", _token_init, (1, x.shape[1], self.width)).astype(x.dtype)
        if self.norm_eps is None:
            return x
        return layers.LayerNorm(self.norm_eps, dtype=self.dtype, name="norm")(x)


class Layer(nn.Module):
    """Attention and a two-layer network, each after a layer norm and with a residual connection.

    Attributes:
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the network.
      eps: Added to the variance in the layer norms.
      layer_scale: The initial factor of what is added to the residual, see `layers.LayerScale`; None means no factor.
      drop_path: The rate of stochastic depth (Huang et al. 2016, arXiv:1603.09382).
      activation: The activation of the network, a name in `ACTIVATIONS`.
      causal: Whether a token attends to itself and to those before it only.
      dtype: The dtype of the computation.
      attention_kernel: What computes the attention, see `layers.attend`.
    """

    num_heads: int
    mlp_dim: int
    eps: float
    layer_scale: float | None = None
    drop_path: float = 0.0
    activation: str = "gelu"
    causal: bool = False
    dtype: DType = jnp.float32
    attention_kernel: str = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n d"]:
        def add(x, y, scale):
            if self.layer_scale is not None:
                y = layers.LayerScale(self.layer_scale, self.dtype, name=scale)(y)
            return x + Dropout(self.drop_path, broadcast_dims=(1, 2))(y, deterministic=not train)

        norm = partial(layers.LayerNorm, epsilon=self.eps, dtype=self.dtype)
        size = (self.num_heads, self.dtype, self.causal)
        attention = layers.Attention(*size, kernel=self.attention_kernel, name="attention")
        x = add(x, attention(norm(name="norm1")(x)), "scale1")
        y = nn.Dense(self.mlp_dim, dtype=self.dtype, name="fc1")(norm(name="norm2")(x))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, name="fc2")(ACTIVATIONS[self.activation](y))
        return add(x, y, "scale2")


class Pool(nn.Module):
    """A layer norm, and what represents the image.

    Attributes:
      kind: "cls", the class token [batch, width]; "tokens", class and distillation token [batch, 2, width]; "mean", the
        mean of the patches, which the norm comes after; or "cls+mean", the two beside each other [batch, 2 · width].
      prefix: The number of tokens before the patches.
      eps: Added to the variance in the norm.
      dtype: The dtype of the computation.
    """

    kind: str
    prefix: int
    eps: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Array:
        norm = layers.LayerNorm(epsilon=self.eps, dtype=self.dtype, name="norm")
        if self.kind == "mean":
            return norm(x[:, self.prefix :].mean(axis=1))
        x = norm(x)
        if self.kind == "cls+mean":
            return jnp.concatenate([x[:, 0], x[:, self.prefix :].mean(axis=1)], axis=-1)
        return x[:, :2] if self.kind == "tokens" else x[:, 0]


class AttentionPool(nn.Module):
    """Pools the tokens by attention (MAP): a learned query, `probe`, attends to all of them after a layer norm.

    It is followed by a two-layer network with a residual connection. The fields are those of `Layer`.

    References:
      Zhai et al., Scaling Vision Transformers, arXiv:2106.04560, 2021.
    """

    num_heads: int
    mlp_dim: int
    eps: float
    activation: str = "gelu"
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b d"]:
        width = x.shape[-1]
        norm = partial(layers.LayerNorm, epsilon=self.eps, dtype=self.dtype)
        x = norm(name="norm")(x)
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, width)).astype(x.dtype)
        probe = jnp.broadcast_to(probe, (x.shape[0], 1, width))
        x = layers.Attention(self.num_heads, self.dtype, name="attention")(probe, x)
        y = nn.Dense(self.mlp_dim, dtype=self.dtype, name="fc1")(norm(name="norm2")(x))
        y = nn.Dense(width, dtype=self.dtype, name="fc2")(ACTIVATIONS[self.activation](y))
        return (x + y)[:, 0]


class DistilledHead(nn.Module):
    """The mean of two classifiers, one of the class token and one of the distillation token, as in DeiT."""

    num_classes: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b 2 d"], *, train: bool = False) -> Float[Array, "b k"]:
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x[:, 0])
        distilled = nn.Dense(self.num_classes, dtype=self.dtype, name="distilled")(x[:, 1])
        return ((logits + distilled) / 2).astype(jnp.float32)


class ViT(ImageChain):
    """Vision transformer, a chain of the stages embed → layer_0 … → pool → head.

    Attributes, beside those of `ImageChain`:
      patch: The side of a patch in pixels, which divides height and width of the image.
      width: The number of features of a token.
      depth: The number of layers.
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the networks of the layers.
      distilled: Whether there is a distillation token with a classifier of its own (DeiT).
      distillation_token: Whether there is a distillation token that no classifier reads: a DeiT whose teacher is left
        out, as transformers has it.
      pooling: What represents the image: "cls", the class token; "mean" of the patches; "cls+mean", both beside each
        other; or "map", attention from a learned query, without a class token (SigLIP). timm's DINOv2 has "cls",
        transformers' has "cls+mean".
      activation: A name in `ACTIVATIONS`: "gelu"; or its approximation "gelu_new", in weights that were trained in JAX.
      eps: Added to the variance in the layer norms: 1e-6 in timm and big_vision, 1e-12 in transformers.
      layer_scale: The initial factor of what is added to the residual (DINOv2); None means no factor.
      drop_path: The rate of stochastic depth of the last layer; it falls linearly to 0 at the first.
      attention_kernel: What computes attention: "auto", "composed", "cudnn" or "splash", see `layers.attend`.
    """

    patch: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    distilled: bool = False
    pooling: str = "cls"
    activation: str = "gelu"
    eps: float = 1e-6
    layer_scale: float | None = None
    drop_path: float = 0.0
    pixels: Pixels = _HALF
    distillation_token: bool = dataclasses.field(default=False, kw_only=True)
    attention_kernel: str = dataclasses.field(default="auto", kw_only=True)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of the learned tokens before the patches."""
        if self.pooling == "map":
            return ()
        further = self.distilled or self.distillation_token
        return ("class_token", "distillation_token") if further else ("class_token",)

    def parts(self):
        def layer(i):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            size = (self.num_heads, self.mlp_dim, self.eps, self.layer_scale, rate)
            how = {"activation": self.activation, "attention_kernel": self.attention_kernel}
            return partial(Layer, *size, **how, dtype=self.dtype)

        if self.distilled and self.pooling != "cls":
            raise InputError(
                f"pooling={self.pooling!r}: the two classifiers of a distilled model read its class token and its "
                "distillation token; its pooling is 'cls'"
            )
        kind = "tokens" if self.distilled else self.pooling
        pool = partial(Pool, kind, len(self.tokens), self.eps, self.dtype)
        if kind == "map":
            pool = partial(AttentionPool, self.num_heads, self.mlp_dim, self.eps, self.activation, self.dtype)
        head = partial(DistilledHead if self.distilled else Head, self.num_classes, dtype=self.dtype)
        return {
            "embed": partial(Embed, self.patch, self.width, self.tokens, dtype=self.dtype),
            **{f"layer_{i}": layer(i) for i in range(self.depth)},
            "pool": pool,
            "head": head,
        }


_SIZES = {
    "tiny": {"width": 192, "num_heads": 3, "mlp_dim": 768},
    "small": {"width": 384, "num_heads": 6, "mlp_dim": 1536},
    "base": {},
    "large": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_dim": 4096},
}
_DINOV2 = {"patch": 14, "image_size": 518, "layer_scale": 1e-5, "pixels": _IMAGENET}

MODELS = {
    **{f"vit_{size}_patch16": partial(ViT, **fields) for size, fields in _SIZES.items()},
    **{f"vit_{size}_patch32": partial(ViT, patch=32, **_SIZES[size]) for size in ("small", "base", "large")},
    "vit_base_patch16_siglip": partial(ViT, pooling="map"),
    **{f"deit_{size}_patch16": partial(ViT, pixels=_IMAGENET, **_SIZES[size]) for size in ("tiny", "small", "base")},
    **{
        f"deit_{size}_distilled_patch16": partial(ViT, distilled=True, pixels=_IMAGENET, **_SIZES[size])
        for size in ("tiny", "small", "base")
    },
    **{f"dinov2_{size}": partial(ViT, **_DINOV2, **_SIZES[size]) for size in ("small", "base", "large")},
}
