"""Generation of texts in a run: its settings, the tokens that it starts from, and the texts that it gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import generate
from jtransfer.modalities.text import forms
from jtransfer.modalities.text.pipeline import stacked
from jtransfer.modalities.text.tokenizers import Tokenizer


def settings(produced: Tokenizer, most: int, model: Any, fields: Mapping[str, Any]) -> generate.Settings:
    """Returns the settings by which a run generates texts.

    Args:
      produced: The tokenizer of the generated texts.
      most: The greatest number of tokens of a generated text. A model with fewer positions generates fewer.
      model: The Linen module.
      fields: Fields of `generate.Settings`, from `config.generate.fields`. Fields that are not given follow from the
        tokenizer and the model.

    Raises:
      InputError: A field does not exist, or a value is out of range.
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
    """Returns `input_ids` and `attention_mask`, int32 [B, n], of B texts that a user gives.

    Args:
      tokenizer: The tokenizer of the inputs.
      length: The greatest number of tokens. Of a longer prompt to continue, the last tokens are kept.
      form: The form of the task, "seq2seq" or "causal".
      given: The texts.
    """
    if form == "seq2seq":
        encoded = tokenizer(given, length=length)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}
    rows = [np.array(forms.prompt(tokenizer, one)[-length:], np.int32) for one in given]
    width = max(map(len, rows))
    masks = [np.ones_like(row) for row in rows]
    return {"input_ids": stacked(rows, width, tokenizer.pad or 0), "attention_mask": stacked(masks, width, 0)}


def decoded(produced: Tokenizer, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns an array of n strings, the texts of generated tokens.

    Args:
      produced: The tokenizer of the generated texts.
      tokens: int [n, m].
      lengths: int [n], the number of tokens of each row that belong to its text.
    """
    return np.array([produced.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)])
