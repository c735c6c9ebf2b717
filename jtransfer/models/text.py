"""What models of text have in common: their input, what passes between their stages, and the heads of encoders."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jtransfer import layers
from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.models.chain import Chain, Tied

HEADS = ("classify", "tag", "embed", "masked_lm")
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
POOLINGS = ("cls", "pooler", "mean", "unit_mean", "max")
Stream = dict[str, Any]
"""Between stages: "x" [b, n, d] and "mask" bool [b, 1, 1, n], False where there is padding."""
_init = nn.initializers.normal(0.02)


def example_input(batch: int, length: int = 8) -> dict[str, Int[Array, "b n"]]:
    """Zeros of the shapes and dtypes of an encoder's input."""
    return {name: jnp.zeros((batch, length), jnp.int32) for name in ("input_ids", "attention_mask")}


def check(inputs: dict[str, Array], known: tuple[str, ...]) -> None:
    """Nothing, if the inputs are some of `known`, `input_ids` among them.

    Raises:
      InputError: an input that the model does not know, or no `input_ids`.
    """
    strange = sorted(set(inputs) - set(known))
    if strange or "input_ids" not in inputs:
        has = f"there is {strange[0]!r}" if strange else "there is none"
        others = ", ".join(name for name in known if name != "input_ids")
        raise InputError(f"the model's inputs are input_ids, and if wanted {others}; {has}")


def mask_of(inputs: dict[str, Array], prefix: str = "") -> Bool[Array, "b 1 1 m"]:
    """What may be looked at, for attention: `attention_mask`, by default all of `input_ids`; of a mask [b, n, m], whose
    rows are those who look, [b, 1, n, m]."""
    mask = inputs.get(f"{prefix}attention_mask")
    mask = jnp.ones(inputs[f"{prefix}input_ids"].shape, bool) if mask is None else jnp.asarray(mask).astype(bool)
    return mask[:, None, None] if mask.ndim == 2 else mask[:, None]


def positions_of(inputs: dict[str, Array], prefix: str = "") -> Int[Array, "#b n"]:
    """`position_ids`, by default 0, 1, …."""
    positions = inputs.get(f"{prefix}position_ids")
    return jnp.arange(inputs[f"{prefix}input_ids"].shape[1])[None] if positions is None else positions


class Embed(nn.Module):
    """The sum of the embeddings of tokens, of positions and, where there are such, of kinds of segments; normed.

    Attributes:
      rows: of the table of positions.
      kinds: of segments that `token_type_ids` tells apart; 0 for none.
      max_length: most tokens that a text may have; None is as many as `rows`.
      pad: token that fills up texts, where positions are counted from pad + 1 on and padding has none (RoBERTa).
    """

    vocab_size: int
    width: int
    rows: int
    kinds: int
    eps: float
    dropout: float
    max_length: int | None = None
    pad: int | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=_init)
        self.positions = self.param("positions", _init, (self.rows, self.width))
        if self.kinds:
            self.segments = self.param("segments", _init, (self.kinds, self.width))
        self.norm = layers.LayerNorm(self.eps, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, inputs: dict[str, Array], *, train: bool = False) -> Stream:
        check(inputs, INPUTS if self.kinds else tuple(name for name in INPUTS if name != "token_type_ids"))
        ids, kinds = inputs["input_ids"], inputs.get("token_type_ids")
        longest = self.max_length or self.rows
        if ids.shape[1] > longest:
            raise InputError(f"input_ids: {ids.shape[1]} tokens, but the model has {longest} positions; truncate")
        x = self.tokens(ids) + self._places(inputs).astype(self.dtype)
        if self.kinds:
            x = x + (self.segments[0] if kinds is None else self.segments[kinds]).astype(self.dtype)
        return {"x": self.drop(self.norm(x), deterministic=not train), "mask": mask_of(inputs)}

    def _places(self, inputs: dict[str, Array]) -> Float[Array, "#b n d"]:
        if "position_ids" in inputs:
            return self.positions[inputs["position_ids"]]
        ids = inputs["input_ids"]
        if self.pad is None:
            return self.positions[None, : ids.shape[1]]
        real = (ids != self.pad).astype(jnp.int32)
        return self.positions[jnp.cumsum(real, axis=1) * real + self.pad]


class Pool(nn.Module):
    """What stands for the text.

    Attributes:
      kind: "cls", what stands at the first token; "pooler", the same through a dense layer with tanh; "mean" of all
        tokens that are no padding; "unit_mean", the same with a root mean square of 1, which leaves the direction that
        sentence embeddings are compared by; "max" of the same tokens; or "tokens", each of them, [b, n, d].
    """

    kind: str
    kernel_init: Callable = _init
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b *n d"]:
        x = stream["x"]
        if self.kind == "tokens":
            return x
        seen = stream["mask"][:, 0, 0]
        if self.kind == "max":
            return masked_max(x, seen)
        if self.kind in ("mean", "unit_mean"):
            mean = masked_mean(x, seen)
            return mean if self.kind == "mean" else unit_mean_square(mean)
        if self.kind == "cls":
            return x[:, 0]
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return jnp.tanh(dense(x[:, 0]))


def masked_mean(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The mean over the places where `mask` holds, in float32; zeros where it holds nowhere."""
    weights = mask.astype(jnp.float32)[..., None]
    total = (x.astype(jnp.float32) * weights).sum(axis=1)
    return (total / jnp.maximum(weights.sum(axis=1), 1.0)).astype(x.dtype)


def masked_max(x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The greatest over the places where `mask` holds; zeros where it holds nowhere."""
    highest = jnp.where(mask[..., None], x, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1)[:, None], highest, 0)


def unit_mean_square(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Each row divided by its root mean square, which is taken in float32; rows of zeros stay."""
    y = x.astype(jnp.float32)
    return (y * jax.lax.rsqrt(jnp.maximum(jnp.square(y).mean(-1, keepdims=True), 1e-24))).astype(x.dtype)


class Classify(nn.Module):
    """Dropout and one dense layer: the logits of a text, or of each token, float32."""

    num_classes: int
    dropout: float = 0.0
    kernel_init: Callable = _init
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *n d"], *, train: bool = False) -> Float[Array, "b *n k"]:
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        dense = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        return dense(x).astype(jnp.float32)


class DeepClassify(nn.Module):
    """Two dense layers with an activation in between: the logits of a text, float32.

    Attributes:
      rates: of what is dropped before each of them.
    """

    num_classes: int
    activation: Callable
    rates: tuple[float, float]
    kernel_init: Callable = _init
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b k"]:
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        x = nn.Dropout(self.rates[0])(x, deterministic=not train)
        x = self.activation(dense(x.shape[-1], name="hidden")(x))
        x = nn.Dropout(self.rates[1])(x, deterministic=not train)
        return dense(self.num_classes, name="dense")(x).astype(jnp.float32)


class Normalize(nn.Module):
    """A text's embedding, float32, of length 1."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b d"]:
        x = x.astype(jnp.float32)
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class Plain(nn.Module):
    """A text's embedding, float32, as it is."""

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False) -> Float[Array, "b d"]:
        return x.astype(jnp.float32)


class MaskedLM(nn.Module):
    """The logits of the token at each place, float32: a dense layer with an activation and a norm, and the products
    with the token embeddings, plus `bias` [vocab_size].

    Attributes:
      embed: the stage whose `tokens` are the embeddings.
    """

    embed: nn.Module
    eps: float
    activation: Callable
    kernel_init: Callable = _init
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n v"]:
        dense = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=self.kernel_init, name="dense")
        x = layers.LayerNorm(self.eps, dtype=self.dtype, name="norm")(self.activation(dense(x)))
        logits = self.embed.tokens.attend(x).astype(jnp.float32)
        return logits + self.param("bias", nn.initializers.zeros, (logits.shape[-1],))


class Encoder(Chain):
    """embed → layer_0 … → pool → head: BERT and its like.

    Its input is {"input_ids": int32 [b, n]}, with `attention_mask` [b, n] (default: all ones), `token_type_ids` [b, n]
    (default: zeros; where the family has them) and `position_ids` [b, n] if wanted.

    Attributes:
      num_classes: of "classify" and "tag"; without meaning for other heads.
      head: "classify", the logits of a text [b, num_classes]; "tag", those of each token [b, n, num_classes]; "embed",
        the text's embedding [b, width], as of a sentence transformer; "masked_lm", the logits of the token at each
        place [b, n, vocab_size]. All float32.
      pooling: what "classify" and "embed" see of the text, see `Pool`; None is the family's own for "classify", and
        "mean" for "embed".
      normalize: whether an embedding has length 1.
      vocab_size: number of tokens.
      max_length: most tokens of a text.
      width, depth, num_heads, mlp_dim: of the layers.
      eps: of the layer norms.
      activation: of the layers, one of `layers.activation.ACTIVATIONS`.
      dropout, attention_dropout: rates in training, of what is added to the residual and of attention weights.
      head_dropout: rate before the last layer; None is `dropout`.
      pad: token that fills up texts.
    """

    head: str = "classify"
    pooling: str | None = None
    normalize: bool = True
    vocab_size: int = 30522
    max_length: int = 512
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    eps: float = 1e-12
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    head_dropout: float | None = None
    pad: int = 0

    usual_pooling = "cls"

    def embedding(self) -> Callable[..., nn.Module]:
        """The constructor of the stage "embed"."""
        raise NotImplementedError

    def classifier(self) -> Callable[..., nn.Module]:
        """The constructor of the head that classifies a text."""
        raise NotImplementedError

    @property
    def last_dropout(self) -> float:
        """The rate before the last layer."""
        return self.dropout if self.head_dropout is None else self.head_dropout

    @property
    def pooled(self) -> str:
        """What the head sees: the kind of `Pool`."""
        if self.head in ("tag", "masked_lm"):
            return "tokens"
        return self.pooling or ("mean" if self.head == "embed" else self.usual_pooling)

    def example_input(self, batch: int = 1) -> dict[str, Int[Array, "b n"]]:
        """Zeros of the input's shapes and dtypes: texts of 8 tokens."""
        return example_input(batch, min(8, self.max_length))

    def parts(self):
        for kind, name, known in (
            ("head", self.head, HEADS),
            ("pooling", self.pooling or "mean", POOLINGS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        layer = partial(
            layers.PostNorm,
            self.num_heads,
            self.mlp_dim,
            self.eps,
            self.activation,
            self.dropout,
            self.attention_dropout,
            dtype=self.dtype,
        )
        return {
            "embed": self.embedding(),
            **{f"layer_{i}": layer for i in range(self.depth)},
            "pool": partial(Pool, self.pooled, dtype=self.dtype),
            "head": self._head(),
        }

    def _head(self):
        if self.head == "masked_lm":
            activation = ACTIVATIONS[self.activation]
            return Tied(partial(MaskedLM, eps=self.eps, activation=activation, dtype=self.dtype), "embed")
        if self.head == "embed":
            return Normalize if self.normalize else Plain
        if self.head == "tag":
            return partial(Classify, self.num_classes, self.last_dropout, dtype=self.dtype)
        return self.classifier()
