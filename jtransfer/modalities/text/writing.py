"""What a model writes: by which settings it generates, from which tokens, and the texts that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import generate
from jtransfer.modalities.text import forms
from jtransfer.modalities.text.pipeline import stacked
from jtransfer.modalities.text.tokenizers import Tokenizer


def settings(produced: Tokenizer, most: int, model: Any, fields: Mapping[str, Any]) -> generate.Settings:
    """How a run generates: `config.generate.fields`; what they leave open is told by the tokenizer and the model.

    Args:
      produced: the tokenizer of what is generated.
      most: tokens of a generated text, unless the model has room for fewer.
      model: the Linen module.
      fields: of `generate.Settings`.

    Raises:
      InputError: no such setting, or a value out of its range.
    """
    positions = getattr(model, "max_length", None)
    own = {
        "max_new_tokens": max(1, min(most, positions - 1)) if positions else most,
        "eos_token_id": () if produced.eos is None else (produced.eos,),
        "pad_token_id": produced.pad or 0,
        "decoder_start_token_id": getattr(model, "start", None),
    }
    return generate.from_config({}, encoder_decoder=False, **(own | dict(fields)))


def inputs(tokenizer: Tokenizer, length: int, form: str, given: Sequence[str]) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask`, int32 [B, n], of texts that someone gives; of a prompt, its last tokens."""
    if form == "seq2seq":
        encoded = tokenizer(given, length=length)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}
    rows = [np.array(forms.prompt(tokenizer, one)[-length:], np.int32) for one in given]
    width = max(map(len, rows))
    masks = [np.ones_like(row) for row in rows]
    return {"input_ids": stacked(rows, width, tokenizer.pad or 0), "attention_mask": stacked(masks, width, 0)}


def decoded(produced: Tokenizer, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Tokens [n, m] that a model generated, as far as each row's length goes, as strings [n]."""
    return np.array([produced.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)])
