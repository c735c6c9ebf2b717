"""What the config.json of all encoder–decoders of transformers have in common."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.seq2seq import Seq2Seq
from jtransfer.weights.schema import SIZE, TOKEN, either, many, optional, whole


def tokens(config: Mapping[str, Any], *, pad: int, start: int | None, end: int) -> dict[str, Any]:
    """The fields `pad`, `start` and `end` that a config.json states.

    Args:
      config: The content of config.json.
      pad: The token that fills up texts, if it states none.
      start: The first token of the decoder, if it states none.
      end: The token that ends a text, if it states none.

    Raises:
      InputError: One of them is not in the vocabulary that it states.
    """
    last = config.get("eos_token_id", end)
    fields = {
        "pad": config.get("pad_token_id", pad),
        "start": config.get("decoder_start_token_id", start),
        "end": last[0] if isinstance(last, list) else last,
    }
    if "vocab_size" in config:
        _check(fields, config["vocab_size"])
    return fields


def _check(fields: Mapping[str, int | None], vocab_size: int) -> None:
    for name, token in fields.items():
        if token is not None and token >= vocab_size:
            raise InputError(f"{name}={token} is no token of a vocabulary of {vocab_size}; give another {name}")


TOKENS = {
    "vocab_size": SIZE,
    "d_model": SIZE,
    "pad_token_id": whole(0, (1 << 31) - 1),
    "decoder_start_token_id": optional(TOKEN),
    "eos_token_id": either(TOKEN, many(TOKEN, 1, 1000)),
}
"""The kinds of what all of them state."""


def config_of(model: Seq2Seq) -> dict[str, Any]:
    """The entries that the config.json of all encoder–decoders have.

    Raises:
      InputError: A token of the model is not in its vocabulary.
    """
    _check({name: getattr(model, name) for name in ("pad", "start", "end")}, model.vocab_size)
    return {
        "is_encoder_decoder": True,
        "vocab_size": model.vocab_size,
        "d_model": model.width,
        "pad_token_id": model.pad,
        "decoder_start_token_id": model.start,
        "eos_token_id": model.end,
    }
