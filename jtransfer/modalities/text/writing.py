"""What a model writes: by which settings it generates, for which tokens, and the texts that come of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import generate
from jtransfer.modalities.text import forms
from jtransfer.modalities.text.modality import Text
from jtransfer.modalities.text.pipeline import stacked
from jtransfer.tasks.base import Task


def settings(modality: Text, model: Any, fields: Mapping[str, Any]) -> generate.Settings:
    """How a run generates: `config.generate.fields`; what they leave open is told by the tokenizer and the model.

    Raises:
      InputError: no such setting, or a value out of its range.
    """
    produced, most = modality.vocabulary.target or modality.vocabulary, modality.target_length
    positions = getattr(model, "max_length", None)
    own = {
        "max_new_tokens": max(1, min(most, positions - 1)) if positions else most,
        "eos_token_id": () if produced.eos is None else (produced.eos,),
        "pad_token_id": produced.pad or 0,
        "decoder_start_token_id": getattr(model, "start", None),
    }
    return generate.from_config({}, encoder_decoder=False, **(own | dict(fields)))


def inputs(modality: Text, task: Task, given: Sequence[str]) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask`, int32 [B, n], of texts that someone gives; of a prompt, its last tokens."""
    tokenizer = modality.vocabulary
    if task.form == "seq2seq":
        encoded = tokenizer(given, length=modality.length)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}
    rows = [np.array(forms.prompt(tokenizer, one)[-modality.length :], np.int32) for one in given]
    width = max(map(len, rows))
    masks = [np.ones_like(row) for row in rows]
    return {"input_ids": stacked(rows, width, tokenizer.pad or 0), "attention_mask": stacked(masks, width, 0)}


def make_step(model: Any, how: generate.Settings, seed: int) -> Callable[[Mapping, Mapping], dict[str, jax.Array]]:
    """`step(variables, batch) -> {"tokens": int32 [B, max_new_tokens], "lengths": [B]}`: what is generated for a batch.

    It is compiled once for each width of `input_ids`, however many such steps are made.
    """

    def step(variables: Mapping, batch: Mapping) -> dict[str, jax.Array]:
        given = {name: batch["inputs"][name] for name in ("input_ids", "attention_mask")}
        generated = generate.compiled(model, variables, given, how, jax.random.key(seed))
        return {"tokens": generated.tokens, "lengths": generated.lengths}

    return step


def decoded(modality: Text, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Tokens [n, m] that a model generated, as far as each row's length goes, as strings [n]."""
    produced = modality.vocabulary.target or modality.vocabulary
    return np.array([produced.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)])
