"""CLIP (Radford et al. 2021, arXiv:2103.00020): its image tower, its text tower, and the pair of them."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer import layers
from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import Chain, ImageChain, Pixels
from jtransfer.models.text import check
from jtransfer.models.vit import Embed, Layer, Pool

_PIXELS = Pixels(
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    crop=1.0,
    interpolation="bicubic",
)
_init = nn.initializers.normal(0.02)
_TEXT = ("input_ids", "attention_mask")


class Branch(nn.Module):
    """Applies a module to one entry of a dict and passes on the others.

    Attributes:
      key: The name of the entry, whose place the module's output takes.
      make: The constructor of the module, whose parameters have the paths that they have without the branch.
    """

    key: str
    make: Callable[..., nn.Module]

    def setup(self):
        self.part = self.make()
        nn.share_scope(self, self.part)

    def __call__(self, x: dict[str, Any], *, train: bool = False) -> dict[str, Any]:
        return {**x, self.key: self.part(x[self.key], train=train)}


class Texts(nn.Module):
    """Applies a model of texts to the texts in a dict and passes on the other entries.

    Its output becomes the entry "text", in place of "input_ids" and "attention_mask".

    Attributes:
      make: The constructor of the model, whose parameters have the paths that they have without this module.
    """

    make: Callable[..., nn.Module]

    def setup(self):
        self.part = self.make()
        nn.share_scope(self, self.part)

    def __call__(self, x: dict[str, Any], *, train: bool = False) -> dict[str, Any]:
        inputs = {name: value for name, value in x.items() if name in (*_TEXT, "lengths")}
        others = {name: value for name, value in x.items() if name not in inputs}
        return {**others, "text": self.part(inputs, train=train)}


class TextEmbed(nn.Module):
    """Adds the embeddings of tokens and of positions, and finds the end of each text.

    Gives {"x": [batch, n, width], "end": int [batch]}, where "end" is the position of the first `end` token. Padding
    comes after it and is never attended to, so `attention_mask` makes no difference.

    Attributes:
      vocab_size: The number of tokens.
      max_length: The number of positions.
      width: The number of features of a token.
      end: The token that ends a text.
      dtype: The dtype of the computation.
    """

    vocab_size: int
    max_length: int
    width: int
    end: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, inputs: dict[str, Int[Array, "b n"]], *, train: bool = False) -> dict[str, Array]:
        check(inputs, _TEXT)
        ids = inputs["input_ids"]
        if ids.shape[1] > self.max_length:
            raise InputError(
                f"input_ids: {ids.shape[1]} tokens, but the model has {self.max_length} positions; truncate"
            )
        x = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=_init, name="tokens")(ids)
        positions = self.param("positions", _init, (self.max_length, self.width))
        return {"x": x + positions[: ids.shape[1]].astype(x.dtype), "end": (ids == self.end).argmax(axis=1)}


class TextPool(nn.Module):
    """The features at the end of each text, after a layer norm."""

    eps: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: dict[str, Array], *, train: bool = False) -> Float[Array, "b d"]:
        last = jnp.take_along_axis(x["x"], x["end"][:, None, None], axis=1)[:, 0]
        return layers.LayerNorm(self.eps, dtype=self.dtype, name="norm")(last)


class Projection(nn.Module):
    """The dense layer into the space that images and texts share; its output is float32."""

    features: int
    use_bias: bool = False
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b p"]:
        y = nn.Dense(self.features, self.use_bias, dtype=self.dtype, kernel_init=_init, name="dense")(x)
        return y.astype(jnp.float32)


class Similarity(nn.Module):
    """The cosine similarities of all images with all texts, times exp(`scale`), a parameter: logits float32."""

    @nn.compact
    def __call__(self, x: dict[str, Array], *, train: bool = False) -> Float[Array, "b k"]:
        scale = self.param("scale", nn.initializers.constant(jnp.log(1 / 0.07)), ())
        image, text = (layers.l2_normalize(x[key]) for key in ("image", "text"))
        return jnp.exp(scale) * image @ text.T


class CLIP(Chain):
    """The base of the towers and of their pair.

    Attributes, beside those of `Chain`:
      activation: "quick_gelu", as in OpenAI's models, or "gelu", as in most of LAION's.
      eps: Added to the variance in the layer norms.
      attention_kernel: What computes attention: "auto", "composed", "cudnn" or "splash", see `layers.attend`.
    """

    activation: str = "quick_gelu"
    eps: float = 1e-5
    attention_kernel: str = dataclasses.field(default="auto", kw_only=True)

    def layers(self, depth: int, num_heads: int, mlp_dim: int, causal: bool) -> dict[str, partial]:
        """The constructors of the layers of a tower, by the names of their stages."""
        how = {"activation": self.activation, "causal": causal, "attention_kernel": self.attention_kernel}
        layer = partial(Layer, num_heads, mlp_dim, self.eps, **how, dtype=self.dtype)
        return {f"layer_{i}": layer for i in range(depth)}


class CLIPImage(CLIP, ImageChain):
    """CLIP's image tower, a chain of the stages embed → layer_0 … → pool → head.

    With `head="classify"`, the head is the projection into the space that images and texts share: embeddings float32
    [batch, num_classes] that are not normalised, where `num_classes` is the width of that space. With `head_bias` and
    another `num_classes` it is a classifier. With `head="embed"` the model ends before the projection.

    Attributes, beside those of `CLIP` and `ImageChain`:
      patch: The side of a patch in pixels.
      width: The number of features of a token.
      depth: The number of layers.
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the networks of the layers.
      head_bias: Whether the head has a bias.
    """

    num_classes: int = 512
    patch: int = 32
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    head_bias: bool = False
    pixels: Pixels = _PIXELS

    tokens = ("class_token",)

    def parts(self):
        return {
            "embed": partial(Embed, self.patch, self.width, self.tokens, self.eps, self.dtype),
            **self.layers(self.depth, self.num_heads, self.mlp_dim, causal=False),
            "pool": partial(Pool, "cls", 1, self.eps, self.dtype),
            "head": partial(Projection, self.num_classes, self.head_bias, self.dtype),
        }


class CLIPText(CLIP):
    """CLIP's text tower, a chain of the stages embed → layer_0 … → pool → head.

    It maps {"input_ids": int32 [batch, n ≤ max_length]} to embeddings float32 [batch, num_classes] that are not
    normalised.

    Attributes, beside those of `CLIP`:
      num_classes: The width of the space that images and texts share.
      vocab_size: The number of tokens.
      max_length: The number of positions.
      end: The token that ends a text: its features at the first such token represent the text, and what comes after it
        makes no difference.
      width: The number of features of a token.
      depth: The number of layers.
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the networks of the layers.
    """

    takes = ("text",)

    num_classes: int = 512
    vocab_size: int = 49408
    max_length: int = 77
    end: int = 49407
    width: int = 512
    depth: int = 12
    num_heads: int = 8
    mlp_dim: int = 2048

    def example_input(self, batch: int = 1) -> dict[str, Int[Array, "b n"]]:
        """Texts of zeros, int32 [batch, max_length]."""
        return {name: jnp.zeros((batch, self.max_length), jnp.int32) for name in _TEXT}

    def parts(self):
        layers = self.layers(self.depth, self.num_heads, self.mlp_dim, causal=True)
        return {
            "embed": partial(TextEmbed, self.vocab_size, self.max_length, self.width, self.end, self.dtype),
            **{name: partial(Branch, "x", layer) for name, layer in layers.items()},
            "pool": partial(TextPool, self.eps, self.dtype),
            "head": partial(Projection, self.num_classes, dtype=self.dtype),
        }


class CLIPPair(CLIP, ImageChain):
    """CLIP's image and text towers, a chain of the stages image → text → head. The first two are whole towers.

    It maps {"image": [batch, height, width, channels], "input_ids": [num_classes, n]} to logits float32 [batch,
    num_classes]: it is a classifier whose classes are texts.

    Attributes, beside those of `CLIP` and `ImageChain`:
      projection: The width of the space that images and texts share.
      patch, width, depth, num_heads, mlp_dim: Those of the image tower.
      vocab_size, max_length, end: Those of the text tower.
      text_width, text_depth, text_num_heads, text_mlp_dim: Those of the text tower.
    """

    takes = ("image", "text")

    projection: int = 512
    patch: int = 32
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    vocab_size: int = 49408
    max_length: int = 77
    end: int = 49407
    text_width: int = 512
    text_depth: int = 12
    text_num_heads: int = 8
    text_mlp_dim: int = 2048
    pixels: Pixels = _PIXELS

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """An image for each of `batch` examples, and `num_classes` texts, all zeros."""
        texts = {name: jnp.zeros((self.num_classes, self.max_length), jnp.int32) for name in _TEXT}
        return {"image": super().example_input(batch), **texts}

    def _run(self, stage: nn.Module, x: dict[str, Any], train: bool) -> Any:
        return stage(x, train=train)  # the towers see to `remat` themselves

    def parts(self):
        common = {name: getattr(self, name) for name in ("activation", "eps", "dtype", "scan", "remat")}
        image = {name: getattr(self, name) for name in ("patch", "width", "depth", "num_heads", "mlp_dim", "channels")}
        text = {name: getattr(self, f"text_{name}") for name in ("width", "depth", "num_heads", "mlp_dim")}
        text |= {name: getattr(self, name) for name in ("vocab_size", "max_length", "end")}
        return {
            "image": partial(Branch, "image", partial(CLIPImage, self.projection, **image, **common)),
            "text": partial(Texts, partial(CLIPText, self.projection, **text, **common)),
            "head": Similarity,
        }


_LARGE = {"patch": 14, "width": 1024, "depth": 24, "num_heads": 16, "mlp_dim": 4096}
_LARGE_TEXT = {"width": 768, "num_heads": 12, "mlp_dim": 3072}

MODELS = {
    "clip_base_patch32": partial(CLIPPair),
    "clip_base_patch16": partial(CLIPPair, patch=16),
    "clip_large_patch14": partial(
        CLIPPair, projection=768, **_LARGE, **{f"text_{key}": value for key, value in _LARGE_TEXT.items()}
    ),
    "clip_image_base_patch32": partial(CLIPImage),
    "clip_image_base_patch16": partial(CLIPImage, patch=16),
    "clip_image_large_patch14": partial(CLIPImage, **_LARGE),
    "clip_text_base": partial(CLIPText),
    "clip_text_large": partial(CLIPText, **_LARGE_TEXT),
}
