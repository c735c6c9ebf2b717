"""Checks of the model, the inputs and the settings of a generation, each error a line."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.generate.decode import DECODER
from jtransfer.generate.settings import Settings

PREFIXES = ("", "decoder_")
_ONE_TOKEN = ("pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")


def of_decoder(model: Any) -> str:
    """The prefix of the names of the inputs that generated tokens are appended to."""
    return "decoder_" if DECODER in model.stages else ""


def check(model: Any, inputs: Mapping[str, np.ndarray], settings: Settings, key: Any) -> None:
    """Checks what is generated from. The arguments are those of `generate`.

    Raises:
      InputError: As `generate`.
    """
    if settings.do_sample and settings.temperature > 0 and key is None:
        raise InputError("generation with do_sample=True draws tokens: give a key, such as jax.random.key(0)")
    if "input_ids" not in inputs or inputs["input_ids"].ndim != 2:
        raise InputError("generation needs input_ids [texts, tokens]")
    if getattr(model, "head", "lm") != "lm":
        raise InputError(f"generation needs a language model; the head of this one is {model.head!r}, not 'lm'")
    prefix = of_decoder(model)
    strange = sorted(set(inputs) - {"input_ids", "attention_mask"}) if not prefix else ()
    if strange:
        raise InputError(f"generation goes on from input_ids, with attention_mask if wanted; there is {strange[0]!r}")
    named = {name: getattr(settings, name) for name in ("eos_token_id", "suppress_tokens")}
    named |= {name: (getattr(settings, name),) for name in _ONE_TOKEN}
    named |= {key: (int(inputs[key].max(initial=0)),) for key in inputs if key.endswith("input_ids")}
    for name, tokens in named.items():
        strange = [token for token in tokens if token is not None and token >= model.vocab_size]
        if strange:
            raise InputError(f"{name} has token {strange[0]}; the model's vocabulary ends at {model.vocab_size - 1}")
    for name in PREFIXES:
        lengths = _lengths(inputs, name)
        if len(lengths) and lengths.min() == 0:
            raise InputError(f"text {int(lengths.argmin())} has no tokens in {name}input_ids to go on from")
    ours = _lengths(inputs, prefix).max(initial=1)
    limit = getattr(model, "max_length", None)
    if limit is not None and ours + settings.max_new_tokens > limit:
        raise InputError(
            f"a text of {ours} tokens and max_new_tokens={settings.max_new_tokens} exceed the model's {limit} positions"
        )


def _lengths(inputs: Mapping[str, np.ndarray], prefix: str) -> np.ndarray:
    ids = inputs.get(f"{prefix}input_ids", np.zeros((0, 0)))
    mask = inputs.get(f"{prefix}attention_mask", np.ones(ids.shape))
    return mask.astype(bool).sum(axis=1)
