"""What models with an encoder and a decoder have in common: their input, and what passes between their stages."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jtransfer.core.errors import InputError
from jtransfer.models import text
from jtransfer.models.chain import Chain
from jtransfer.models.text import Stream

ENCODER_INPUTS = ("input_ids", "attention_mask")
DECODER_INPUTS = ("decoder_input_ids", "decoder_attention_mask", "decoder_position_ids")


class Seq2Seq(Chain):
    """embed → encoder_0 … → decoder_embed → decoder_0 … → head, with "encoder_norm" and "decoder_norm" where they are.

    Its input is {"input_ids": int32 [b, n], "decoder_input_ids": int32 [b, k]}, with `attention_mask` [b, n],
    `decoder_attention_mask` [b, k] (default: all ones) and `decoder_position_ids` [b, k] (default: 0, 1, …; without
    meaning where positions are relative) if wanted. Logits are float32 [b, k, vocab_size], of each next token.

    The stages before "decoder_embed" do without the decoder's inputs, and pass them on if they are there. Those after
    it pass on "encoded" [b, n, d] and "encoded_mask" bool [b, 1, 1, n] beside what `text.Stream` has.

    With the collection "cache" mutable, calls from "decoder_embed" on append their k tokens to those of earlier calls,
    as in `layers.Attention`: `decoder_attention_mask` then is as long as the cache.

    Attributes:
      num_classes: unused; the head is as wide as the vocabulary.
      vocab_size: number of tokens, of both languages.
      width: features of a token.
      depth, decoder_depth: number of layers of the encoder and of the decoder; None is as many.
      dropout, attention_dropout: rates in training, of what is added to the residual and of attention weights.
      pad: token that fills up texts, for those who need to know it; `attention_mask` says where it is.
      start: first token of the decoder's input, likewise; None where it says the language.
      end: last token of a text, likewise.
    """

    vocab_size: int = 32128
    width: int = 512
    depth: int = 6
    decoder_depth: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.0
    pad: int = 0
    start: int | None = None
    end: int = 1

    head = "lm"

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """Zeros of the input's shapes and dtypes: texts of 8 tokens."""
        return {name: jnp.zeros((batch, 8), jnp.int32) for name in ("input_ids", "decoder_input_ids")}


class Norm(nn.Module):
    """A norm of the stream's "x", which ends an encoder or a decoder: the bias of its attention goes no further.

    Attributes:
      make: constructor of the norm.
      dropout: rate of what is dropped after it.
    """

    make: Callable[..., nn.Module]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = nn.Dropout(self.dropout)(self.make(name="norm")(stream["x"]), deterministic=not train)
        return {**{key: value for key, value in stream.items() if key != "bias"}, "x": x}


class Places(nn.Module):
    """The place of the first of `count` tokens: 0, or where there is a cache, the number of those in earlier calls."""

    @nn.compact
    def __call__(self, count: int) -> int | Int[Array, ""]:
        if not self.is_mutable_collection("cache") or self.is_initializing():
            return 0
        begun = self.has_variable("cache", "next")
        place = self.variable("cache", "next", lambda: jnp.zeros((), jnp.int32))
        first = place.value
        if begun:
            place.value = first + count
        return first


def open_encoder(inputs: dict[str, Array], max_length: int | None = None) -> Stream:
    """What the encoder passes on beside "x": the mask, with its default, and the decoder's inputs.

    Raises:
      InputError: an input that the model does not know, none at all, or more tokens than `max_length`.
    """
    text.check(inputs, (*ENCODER_INPUTS, *DECODER_INPUTS))
    kept = {name: inputs[name] for name in DECODER_INPUTS if name in inputs}
    return {"mask": _mask(inputs, "", max_length), **kept}


def open_decoder(stream: Stream, max_length: int | None = None) -> tuple[Int[Array, "b k"], Stream]:
    """The decoder's tokens, and what it passes on beside "x". Raises as `open_encoder`."""
    if "decoder_input_ids" not in stream:
        raise InputError("the decoder needs the input decoder_input_ids: its texts, which begin with the start token")
    kept = {"mask": _mask(stream, "decoder_", max_length), "encoded": stream["x"], "encoded_mask": stream["mask"]}
    return stream["decoder_input_ids"], kept


def _mask(inputs: dict[str, Array], prefix: str, max_length: int | None) -> Bool[Array, "b 1 1 m"]:
    mask = text.mask_of(inputs, prefix)
    if max_length is not None and mask.shape[-1] > max_length:
        raise InputError(
            f"{prefix}input_ids: {mask.shape[-1]} tokens, but the model has {max_length} positions; truncate"
        )
    return mask
