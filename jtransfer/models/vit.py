"""Vision transformers: ViT (arXiv:2010.11929), DeiT (arXiv:2012.12877), DINOv2 (arXiv:2304.07193), SigLIP's image
tower (arXiv:2303.15343)."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jtransfer import layers
from jtransfer.layers import activation
from jtransfer.models.chain import ImageChain, Pixels
from jtransfer.models.head import Head

_HALF = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop=0.9, interpolation="bicubic")
_IMAGENET = Pixels(interpolation="bicubic")
_token_init = nn.initializers.normal(0.02)

ACTIVATIONS = {**activation.ACTIVATIONS, "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x)}


class Embed(nn.Module):
    """Patches as tokens, after the class token and the distillation token if there is one; plus their positions.

    Attributes:
      norm_eps: of a layer norm at the end, in which case the patches have no bias (CLIP); None for no norm.
    """

    patch: int
    width: int
    tokens: tuple[str, ...]
    norm_eps: float | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b n d"]:
        plain = self.norm_eps is None
        size = (self.width, self.patch, self.patch, "VALID")
        x = layers.Conv(*size, use_bias=plain, dtype=self.dtype, name="patches")(x)
        x = x.reshape(x.shape[0], -1, self.width)
        for name in reversed(self.tokens):
            token = self.param(name, _token_init, (1, 1, self.width))
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)).astype(x.dtype), x], axis=1)
        x = x + self.param("positions", _token_init, (1, x.shape[1], self.width)).astype(x.dtype)
        return x if plain else layers.LayerNorm(self.norm_eps, dtype=self.dtype, name="norm")(x)


class Layer(nn.Module):
    """Attention and a two-layer network, each after a layer norm and beside a residual.

    Attributes:
      activation: one of `ACTIVATIONS`.
      causal: see `layers.Attention`.
    """

    num_heads: int
    mlp_dim: int
    eps: float
    layer_scale: float | None = None
    drop_path: float = 0.0
    activation: str = "gelu"
    causal: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n d"]:
        def add(x, y, scale):
            if self.layer_scale is not None:
                y = layers.LayerScale(self.layer_scale, self.dtype, name=scale)(y)
            return x + nn.Dropout(self.drop_path, broadcast_dims=(1, 2))(y, deterministic=not train)

        norm = partial(layers.LayerNorm, epsilon=self.eps, dtype=self.dtype)
        attention = layers.Attention(self.num_heads, self.dtype, self.causal, name="attention")
        x = add(x, attention(norm(name="norm1")(x)), "scale1")
        y = nn.Dense(self.mlp_dim, dtype=self.dtype, name="fc1")(norm(name="norm2")(x))
        y = nn.Dense(x.shape[-1], dtype=self.dtype, name="fc2")(ACTIVATIONS[self.activation](y))
        return add(x, y, "scale2")


class Pool(nn.Module):
    """A layer norm, and what stands for the image: `kind` "cls" (the class token), "tokens" (class and distillation
    token, [b, 2, d]), "mean" (of the patches; the norm comes after), or "cls+mean" ([b, 2·d])."""

    kind: str
    prefix: int
    eps: float
    dtype: jnp.dtype = jnp.float32

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
    """A layer norm, then attention from a learnt `probe` to all tokens, and a two-layer network beside a residual
    (arXiv:2106.04560, "MAP"). Attributes as of `Layer`."""

    num_heads: int
    mlp_dim: int
    eps: float
    activation: str = "gelu"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b d"]:
        width = x.shape[-1]
        norm = partial(layers.LayerNorm, epsilon=self.eps, dtype=self.dtype)
        x = norm(name="norm")(x)
        probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, width)).astype(x.dtype)
        probe = jnp.broadcast_to(probe, (len(x), 1, width))
        x = layers.Attention(self.num_heads, self.dtype, name="attention")(probe, x)
        y = nn.Dense(self.mlp_dim, dtype=self.dtype, name="fc1")(norm(name="norm2")(x))
        y = nn.Dense(width, dtype=self.dtype, name="fc2")(ACTIVATIONS[self.activation](y))
        return (x + y)[:, 0]


class DistilledHead(nn.Module):
    """Two dense layers, for the class token and the distillation token; the logits are their mean."""

    num_classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b 2 d"], *, train: bool = False) -> Float[Array, "b k"]:
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="dense")(x[:, 0])
        distilled = nn.Dense(self.num_classes, dtype=self.dtype, name="distilled")(x[:, 1])
        return ((logits + distilled) / 2).astype(jnp.float32)


class ViT(ImageChain):
    """embed → layer_0 … → pool → head.

    Attributes:
      patch: side of a patch in pixels; divides `image_size`.
      width, depth, num_heads, mlp_dim: of the layers.
      distilled: a second token and head (DeiT).
      pooling: see `Pool`; timm's DINOv2 has "cls", transformers' "cls+mean". Or "map": `AttentionPool`, and no
        class token (SigLIP).
      activation: one of `ACTIVATIONS`: "gelu", or the approximation "gelu_new" of what was trained in JAX.
      eps: of the layer norms: 1e-6 in timm and big_vision, 1e-12 in transformers.
      layer_scale: initial value of the scales (DINOv2); None for none.
      drop_path: stochastic depth of the last layer; it falls linearly to 0 at the first.
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

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the tokens before the patches."""
        if self.pooling == "map":
            return ()
        return ("class_token", "distillation_token") if self.distilled else ("class_token",)

    def parts(self):
        def layer(i):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            size = (self.num_heads, self.mlp_dim, self.eps, self.layer_scale, rate)
            return partial(Layer, *size, activation=self.activation, dtype=self.dtype)

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
