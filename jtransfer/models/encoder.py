"""The base of encoders of text: BERT, RoBERTa and DistilBERT."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer import layers
from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import Chain, Tied
from jtransfer.models.head import Embedding
from jtransfer.models.text import Inputs, Stream, check, example_input, padding_of
from jtransfer.models.text_head import Classify, MaskedLM, Pool

HEADS = ("classify", "tag", "embed", "masked_lm")
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
POOLINGS = ("cls", "pooler", "mean", "unit_mean", "max")
_init = nn.initializers.normal(0.02)


class Embed(nn.Module):
    """Adds the embeddings of tokens, of positions and of segments if there are any, and normalises the sum.

    Attributes:
      vocab_size: The number of tokens.
      width: The number of features.
      rows: The number of rows of the table of positions.
      kinds: The number of segments that `token_type_ids` tells apart; 0 means that there are none.
      eps: Added to the variance in the layer norm.
      dropout: The rate in training.
      max_length: The greatest number of tokens of a text; None means `rows`.
      pad: The token that fills up texts, if positions are counted from pad + 1 and padding is not counted (RoBERTa).
        None means that positions are 0, 1, ….
      dtype: The dtype of the computation.
    """

    vocab_size: int
    width: int
    rows: int
    kinds: int
    eps: float
    dropout: float
    max_length: int | None = None
    pad: int | None = None
    dtype: DType = jnp.float32

    def setup(self):
        self.tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, embedding_init=_init)
        self.positions = self.param("positions", _init, (self.rows, self.width))
        if self.kinds:
            self.segments = self.param("segments", _init, (self.kinds, self.width))
        self.norm = layers.LayerNorm(self.eps, dtype=self.dtype)
        self.drop = Dropout(self.dropout)

    def __call__(self, inputs: Inputs, *, train: bool = False) -> Stream:
        check(inputs, INPUTS if self.kinds else tuple(name for name in INPUTS if name != "token_type_ids"))
        ids, kinds = inputs["input_ids"], inputs.get("token_type_ids")
        longest = self.max_length or self.rows
        if ids.shape[1] > longest:
            raise InputError(f"input_ids: {ids.shape[1]} tokens, but the model has {longest} positions; truncate")
        x = self.tokens(ids) + self._positions(inputs).astype(self.dtype)
        if self.kinds:
            x = x + (self.segments[0] if kinds is None else self.segments[kinds]).astype(self.dtype)
        return {"x": self.drop(self.norm(x), deterministic=not train), **padding_of(inputs)}

    def _positions(self, inputs: Inputs) -> Float[Array, "#b n d"]:
        """The embeddings of the positions."""
        if "position_ids" in inputs:
            return self.positions[inputs["position_ids"]]
        ids = inputs["input_ids"]
        if self.pad is None:
            return self.positions[None, : ids.shape[1]]
        real = (ids != self.pad).astype(jnp.int32)
        return self.positions[jnp.cumsum(real, axis=1) * real + self.pad]


class Encoder(Chain):
    """The base of BERT and its like, a chain of the stages embed → layer_0 … → pool → head.

    The input is {"input_ids": int32 [batch, n]}, and optionally `attention_mask` [batch, n] (by default all ones),
    `token_type_ids` [batch, n] (by default zeros; if the family has segments) and `position_ids` [batch, n].

    Attributes, beside those of `Chain`:
      num_classes: The number of classes of "classify" and "tag"; other heads do not use it.
      head: What the model gives, float32: "classify", the logits of each text [batch, num_classes]; "tag", those of
        each token [batch, n, num_classes]; "embed", an embedding of each text [batch, width], as sentence transformers
        do; or "masked_lm", the logits of the token at each position [batch, n, vocab_size].
      pooling: What represents the text for "classify" and "embed": the `kind` of `text_head.Pool`. None means the
        family's own for "classify", and "mean" for "embed".
      normalize: Whether embeddings are divided by their length.
      vocab_size: The number of tokens.
      max_length: The greatest number of tokens of a text.
      width: The number of features of a token.
      depth: The number of layers.
      num_heads: The number of attention heads.
      mlp_dim: The number of features inside the networks of the layers.
      eps: Added to the variance in the layer norms.
      activation: The activation of the layers, a name in `layers.activation.ACTIVATIONS`.
      dropout: The rate in training of what layers add to the residual.
      attention_dropout: The rate in training of attention weights.
      attention_kernel: What computes attention: "auto", "composed", "cudnn" or "splash", see `layers.attend`.
      head_dropout: The rate in training before the last layer; None means `dropout`.
      pad: The token that fills up texts.
    """

    takes = ("text",)

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
    attention_kernel: str = "auto"
    head_dropout: float | None = None
    pad: int = 0

    usual_pooling = "cls"

    def embedding(self) -> Callable[..., nn.Module]:
        """The constructor of the stage "embed"."""
        raise NotImplementedError

    def classifier(self) -> Callable[..., nn.Module]:
        """The constructor of the head that classifies texts."""
        raise NotImplementedError

    @property
    def last_dropout(self) -> float:
        """The rate of dropout before the last layer."""
        return self.dropout if self.head_dropout is None else self.head_dropout

    @property
    def pooled(self) -> str:
        """What the head is given: the `kind` of `text_head.Pool`."""
        if self.head in ("tag", "masked_lm"):
            return "tokens"
        return self.pooling or ("mean" if self.head == "embed" else self.usual_pooling)

    def example_input(self, batch: int = 1) -> dict[str, Int[Array, "b n"]]:
        """Texts of 8 tokens, all zeros."""
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
            self.attention_kernel,
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
            return partial(Embedding, self.normalize)
        if self.head == "tag":
            return partial(Classify, self.num_classes, self.last_dropout, dtype=self.dtype)
        return self.classifier()
