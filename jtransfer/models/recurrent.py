"""LSTM and GRU encoders of texts, in one direction or in both."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers.recurrent import GATES, Recurrence
from jtransfer.models.chain import Chain
from jtransfer.models.text import Classify, Normalize, Stream, check, example_input, mask_of, masked_max, masked_mean

HEADS = ("classify", "tag", "embed")
POOLINGS = ("last", "mean", "max")
INPUTS = ("input_ids", "attention_mask")


class Embed(nn.Module):
    """Token embeddings."""

    vocab_size: int
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, inputs: dict[str, Array], *, train: bool = False) -> Stream:
        check(inputs, INPUTS)
        tokens = nn.Embed(self.vocab_size, self.width, dtype=self.dtype, name="tokens")
        return {"x": tokens(inputs["input_ids"]), "mask": mask_of(inputs)}


class Layer(nn.Module):
    """A recurrence, or one in each direction beside each other, after dropout. What comes before it sees no padding.

    Attributes:
      cell, features, biases, reset_after: of `layers.recurrent.Recurrence`.
    """

    cell: str
    features: int
    bidirectional: bool
    biases: int
    reset_after: bool
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = nn.Dropout(self.dropout)(stream["x"], deterministic=not train)
        run = partial(Recurrence, self.cell, self.features, self.biases, self.reset_after, dtype=self.dtype)
        found = [run(name="forward")(x, stream["mask"][:, 0, 0])]
        if self.bidirectional:
            found.append(run(backward=True, name="backward")(x, stream["mask"][:, 0, 0]))
        return {**stream, "x": jnp.concatenate(found, axis=-1)}


class Pool(nn.Module):
    """What stands for the text.

    Attributes:
      kind: "last", the state in which each direction ends; "mean" or "max" over what is no padding; "tokens", each of
        them, [b, n, d].
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
    """embed → layer_0 … → pool → head.

    Its input is {"input_ids": int32 [b, n]}, with `attention_mask` [b, n] (default: all ones) if wanted. Padding
    changes nothing, wherever it is: the state stays as it is there.

    Attributes:
      num_classes: of "classify" and "tag"; without meaning for "embed".
      head: "classify", the logits of a text [b, num_classes]; "tag", those of each token [b, n, num_classes]; "embed",
        what stands for the text, of length 1. All float32.
      cell: "lstm" or "gru".
      pooling: what "classify" and "embed" see of the text, see `Pool`.
      vocab_size: number of tokens.
      width: of the embeddings.
      features: of the state, of one direction.
      depth: number of layers.
      bidirectional: whether there is a backward direction, too.
      biases, reset_after: of the cells, see `layers.recurrent.Recurrence`. Keras's LSTM has biases=1, and its GRU
        without `reset_after` has both False and 1.
      dropout: rate in training, before each layer and before the head.
      pad: token that fills up texts; `attention_mask` says where it is.
    """

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
        """Zeros of the input's shapes and dtypes: texts of 8 tokens."""
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
            "head": Normalize
            if self.head == "embed"
            else partial(Classify, self.num_classes, self.dropout, dtype=self.dtype),
        }


MODELS = {"lstm": partial(Recurrent), "gru": partial(Recurrent, cell="gru")}
