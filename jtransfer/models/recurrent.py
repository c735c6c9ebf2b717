"""Encoders of text that are LSTMs or GRUs, in one direction or in both."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.masked import masked_max, masked_mean
from jtransfer.layers.recurrent import GATES, Recurrence
from jtransfer.layers.types import Array, DType
from jtransfer.models.chain import Chain
from jtransfer.models.head import Embedding
from jtransfer.models.text import Inputs, Stream, check, example_input, mask_of
from jtransfer.models.text_head import Classify

HEADS = ("classify", "tag", "embed")
POOLINGS = ("last", "mean", "max")
INPUTS = ("input_ids", "attention_mask")


class Embed(nn.Module):
    """Token embeddings."""

    vocab_size: int
    width: int
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, inputs: Inputs, *, train: bool = False) -> Stream:
        check(inputs, INPUTS)
        tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, name="tokens")
        return {"x": tokens(inputs["input_ids"]), "mask": mask_of(inputs)}


class Layer(nn.Module):
    """Dropout and a recurrence, or one in each direction whose states are concatenated.

    The fields are those of `layers.recurrent.Recurrence`, and:

    Attributes:
      bidirectional: Whether there is a recurrence in each direction.
      dropout: The rate in training.
    """

    cell: str
    features: int
    bidirectional: bool
    biases: int
    reset_after: bool
    dropout: float
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = Dropout(self.dropout)(stream["x"], deterministic=not train)
        run = partial(Recurrence, self.cell, self.features, self.biases, self.reset_after, dtype=self.dtype)
        found = [run(name="forward")(x, stream["mask"][:, 0, 0])]
        if self.bidirectional:
            found.append(run(backward=True, name="backward")(x, stream["mask"][:, 0, 0]))
        return {**stream, "x": jnp.concatenate(found, axis=-1)}


class Pool(nn.Module):
    """What represents the text: [batch, features], or [batch, n, features] for "tokens".

    Attributes:
      kind: "last", the state in which each direction ends; "mean" or "max" over the tokens that are no padding; or
        "tokens", the states at each token.
      bidirectional: Whether the features are those of two directions.
    """

    kind: str
    bidirectional: bool

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Float[Array, "b *n d"]:
        x, mask = stream["x"], stream["mask"][:, 0, 0]
        if self.kind == "tokens":
            return x
        if self.kind == "mean":
            return masked_mean(x, mask)
        if self.kind == "max":
            return masked_max(x, mask)
        if not self.bidirectional:
            return x[:, -1]
        half = x.shape[-1] // 2
        return jnp.concatenate([x[:, -1, :half], x[:, 0, half:]], axis=-1)


class Recurrent(Chain):
    """An LSTM or GRU, a chain of the stages embed → layer_0 … → pool → head.

    The input is {"input_ids": int32 [batch, n]}, and optionally `attention_mask` [batch, n] (by default all ones).
    Padding makes no difference, wherever it is: the state passes it unchanged.

    Attributes, beside those of `Chain`:
      num_classes: The number of classes of "classify" and "tag"; "embed" does not use it.
      head: What the model gives, float32: "classify", the logits of each text [batch, num_classes]; "tag", those of
        each token [batch, n, num_classes]; or "embed", what represents the text, divided by its length.
      cell: "lstm" or "gru".
      pooling: What represents the text for "classify" and "embed": the `kind` of `Pool`.
      vocab_size: The number of tokens.
      width: The number of features of the embeddings.
      features: The number of features of the state, of one direction.
      depth: The number of layers.
      bidirectional: Whether there is a recurrence in each direction.
      biases: The number of biases of a cell, see `layers.recurrent.Recurrence`; 1 in Keras's LSTM.
      reset_after: Where a GRU's reset gate acts, see `layers.recurrent.Recurrence`. A GRU of Keras without
        `reset_after` has False, and biases=1.
      dropout: The rate in training before each layer and before the head.
      pad: The token that fills up texts, for those who make them; `attention_mask` says where it is.
    """

    takes = ("text",)

    head: str = "classify"
    cell: str = "lstm"
    pooling: str = "last"
    vocab_size: int = 30522
    width: int = 128
    features: int = 128
    depth: int = 1
    bidirectional: bool = True
    biases: int = 2
    reset_after: bool = True
    dropout: float = 0.1
    pad: int = 0

    def example_input(self, batch: int = 1) -> dict[str, Int[Array, "b n"]]:
        """Texts of 8 tokens, all zeros."""
        return example_input(batch)

    def parts(self):
        for kind, name, known in (
            ("head", self.head, HEADS),
            ("cell", self.cell, GATES),
            ("pooling", self.pooling, POOLINGS),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        if self.biases not in (0, 1, 2):
            raise InputError(f"biases={self.biases}; a cell has 0, 1 or 2")
        size = (self.cell, self.features, self.bidirectional, self.biases, self.reset_after)
        pooling = "tokens" if self.head == "tag" else self.pooling
        return {
            "embed": partial(Embed, self.vocab_size, self.width, self.dtype),
            **{f"layer_{i}": partial(Layer, *size, self.dropout, self.dtype) for i in range(self.depth)},
            "pool": partial(Pool, pooling, self.bidirectional),
            "head": Embedding
            if self.head == "embed"
            else partial(Classify, self.num_classes, self.dropout, dtype=self.dtype),
        }


MODELS = {"lstm": partial(Recurrent), "gru": partial(Recurrent, cell="gru")}
