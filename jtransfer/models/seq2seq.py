"""The base of models with an encoder and a decoder."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Int

from jtransfer.core.errors import InputError
from jtransfer.layers.dropout import Dropout
from jtransfer.layers.types import Array, Size
from jtransfer.models import text
from jtransfer.models.chain import Chain
from jtransfer.models.text import Inputs, Stream

ENCODER_INPUTS = ("input_ids", "attention_mask")
DECODER_INPUTS = ("decoder_input_ids", "decoder_attention_mask", "decoder_position_ids", "decoder_lengths")


class Seq2Seq(Chain):
    """An encoder and a decoder, a chain of the stages embed → encoder_0 … → decoder_embed → decoder_0 … → head.

    Some families also have the stages "encoder_norm" and "decoder_norm" at the ends of the two.

    The input is {"input_ids": int32 [batch, n], "decoder_input_ids": int32 [batch, k]}, and optionally `attention_mask`
    [batch, n], `decoder_attention_mask` [batch, k] (by default all ones) and `decoder_position_ids` [batch, k] (by
    default 0, 1, …; not used where positions are relative). The output is the logits of the token after each one of the
    decoder's, float32 [batch, k, vocab_size].

    The stages before "decoder_embed" do not need the inputs of the decoder, and pass them on if there are any. Those
    after it pass on "encoded" [batch, n, width] and "encoded_mask" bool [batch, 1, 1, n] beside what `text.Stream` has.

    Decoding: with the collection "cache" mutable, calls from "decoder_embed" on append their k tokens to those of
    earlier calls, as in `layers.Attention`; `decoder_attention_mask` then is as long as the cache.

    Attributes, beside those of `Chain`:
      num_classes: Not used; the head is as wide as the vocabulary.
      vocab_size: The number of tokens, of both languages together.
      width: The number of features of a token.
      depth: The number of layers of the encoder.
      decoder_depth: The number of layers of the decoder; None means `depth`.
      dropout: The rate in training of what layers add to the residual.
      attention_dropout: The rate in training of attention weights.
      attention_kernel: What computes attention: "auto", "composed", "cudnn" or "splash", see `layers.attend`.
      pad: The token that fills up texts, for those who make them; `attention_mask` says where it is.
      start: The first token of the decoder's input, likewise; None where it says the language.
      end: The last token of a text, likewise.
    """

    takes = ("text",)

    vocab_size: int = 32128
    width: int = 512
    depth: int = 6
    decoder_depth: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.0
    attention_kernel: str = "auto"
    pad: int = 0
    start: int | None = None
    end: int = 1

    head = "lm"

    def example_input(self, batch: int = 1) -> dict[str, Array]:
        """Texts of 8 tokens for encoder and decoder, all zeros."""
        return {name: jnp.zeros((batch, 8), jnp.int32) for name in ("input_ids", "decoder_input_ids")}


class Norm(nn.Module):
    """A norm of the stream's "x" and dropout, which end an encoder or a decoder. It does not pass on "bias".

    Attributes:
      make: The constructor of the norm.
      dropout: The rate in training.
    """

    make: Callable[..., nn.Module]
    dropout: float = 0.0

    @nn.compact
    def __call__(self, stream: Stream, *, train: bool = False) -> Stream:
        x = Dropout(self.dropout)(self.make(name="norm")(stream["x"]), deterministic=not train)
        return {**{key: value for key, value in stream.items() if key != "bias"}, "x": x}


class Places(nn.Module):
    """The position of the first token of a call: 0, or where there is a cache, the number of tokens of earlier calls.

    It is called with the number of tokens of this call.
    """

    @nn.compact
    def __call__(self, count: Size) -> Size | Int[Array, ""]:
        if not self.is_mutable_collection("cache") or self.is_initializing():
            return 0
        begun = self.has_variable("cache", "next")
        place = self.variable("cache", "next", lambda: jnp.zeros((), jnp.int32))
        first = place.value
        if begun:
            place.value = first + count
        return first


def open_encoder(inputs: Inputs, max_length: int | None = None) -> Stream:
    """What an encoder passes on beside "x": the attention mask, and the inputs of the decoder.

    Args:
      inputs: The inputs of the model.
      max_length: The greatest number of tokens of a text; None means any.

    Raises:
      InputError: There is an input that the model does not take, there is no `input_ids`, or texts are too long.
    """
    text.check(inputs, (*ENCODER_INPUTS, *DECODER_INPUTS))
    kept = {name: inputs[name] for name in DECODER_INPUTS if name in inputs}
    return {**_padding(inputs, "", max_length), **kept}


def open_decoder(stream: Stream, max_length: int | None = None) -> tuple[Int[Array, "b k"], Stream]:
    """The tokens of a decoder, and what it passes on beside "x".

    Args:
      stream: What the encoder passed on.
      max_length: The greatest number of tokens of a text; None means any.

    Raises:
      InputError: There is no `decoder_input_ids`, or texts are too long.
    """
    if "decoder_input_ids" not in stream:
        raise InputError("the decoder needs the input decoder_input_ids: its texts, which begin with the start token")
    encoded = {f"encoded_{name}": stream[name] for name in ("mask", "lengths") if name in stream}
    return stream["decoder_input_ids"], {**_padding(stream, "decoder_", max_length), "encoded": stream["x"], **encoded}


def _padding(inputs: Inputs, prefix: str, max_length: int | None) -> text.Stream:
    found = text.padding_of(inputs, prefix)
    mask = found["mask"]
    if max_length is not None and mask.shape[-1] > max_length:
        raise InputError(
            f"{prefix}input_ids: {mask.shape[-1]} tokens, but the model has {max_length} positions; truncate"
        )
    return found
