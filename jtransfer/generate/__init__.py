"""Generates text with language models: greedily, by drawing tokens or by beam search, as one compiled program.

    settings = generate.read(folder, encoder_decoder=False, max_new_tokens=40)
    texts = generate.generate(model, variables, {"input_ids": ids, "attention_mask": mask}, settings)

`search` is the pure function beneath, which can be compiled as a part of something else. `compiled` is that function
jitted, for inputs that are known to be right and are padded already.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.generate.decode import DECODER
from jtransfer.generate.generation_config import from_config, read
from jtransfer.generate.searches import Generated, search
from jtransfer.generate.settings import Settings, upgrade_fields
from jtransfer.layers.types import Array

__all__ = ["Generated", "Settings", "bucket", "compiled", "from_config", "generate", "read", "search", "upgrade_fields"]

_PREFIXES = ("", "decoder_")
_ONE_TOKEN = ("pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")


def generate(
    model: Any,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Array],
    settings: Settings,
    key: jax.Array | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Generated:
    """Generates a text for each row of the input, after checking the input and padding it.

    It is compiled once for each model, settings and `bucket` of lengths. The compiled program knows nothing of Flax
    interceptors around the call; under them, compile `search` instead.

    Args:
      model: A chain whose head gives logits of tokens.
      variables: The variables of the model.
      inputs: What the model takes, see `search`.
      settings: How text is generated.
      key: The random key, which is needed if `settings.do_sample`.
      mesh: The devices that share the texts, whose number must be a multiple of theirs; `variables` are on them. By
        default all is done on one device.

    Raises:
      InputError: The model is no language model, a text has no tokens or is too long for the model, tokens are outside
        of its vocabulary, or the key is missing.
    """
    if settings.do_sample and settings.temperature > 0 and key is None:
        raise InputError("generation with do_sample=True draws tokens: give a key, such as jax.random.key(0)")
    inputs = {name: np.asarray(array) for name, array in inputs.items()}
    _check(model, inputs, settings)
    limit, ours = getattr(model, "max_length", None), _of_decoder(model)
    for prefix in _PREFIXES:
        room = limit and (limit - settings.max_new_tokens if prefix == ours else limit)
        inputs = _padded(inputs, prefix, room)
    shared = inputs if mesh is None else sharding.put_batch(inputs, mesh)
    return compiled(model, variables, shared, settings, key)


compiled = jax.jit(search, static_argnums=(0, 3))


def bucket(length: int) -> int:
    """The length that a prompt is padded to, so that few lengths are compiled: at most a quarter longer, from 32 on."""
    step = max(8, (1 << length.bit_length()) // 8)
    return -(-length // step) * step


def _of_decoder(model: Any) -> str:
    """The prefix of the names of the inputs that generated tokens are appended to."""
    return "decoder_" if DECODER in model.stages else ""


def _padded(inputs: dict[str, np.ndarray], prefix: str, room: int | None) -> dict[str, np.ndarray]:
    """The inputs with padding on the right up to their bucket, but to no more than `room` tokens."""
    ids, masked = f"{prefix}input_ids", f"{prefix}attention_mask"
    if ids not in inputs:
        return inputs
    length = inputs[ids].shape[1]
    more = bucket(length) - length
    more = more if room is None else max(0, min(more, room - length))
    mask = inputs.get(masked, np.ones_like(inputs[ids]))
    padded = {ids: inputs[ids].astype(np.int32), masked: mask.astype(np.int32)}
    return {**inputs, **{name: np.pad(array, ((0, 0), (0, more))) for name, array in padded.items()}}


def _check(model: Any, inputs: Mapping[str, np.ndarray], settings: Settings) -> None:
    if "input_ids" not in inputs or inputs["input_ids"].ndim != 2:
        raise InputError("generation needs input_ids [texts, tokens]")
    if getattr(model, "head", "lm") != "lm":
        raise InputError(f"generation needs a language model; the head of this one is {model.head!r}, not 'lm'")
    prefix = _of_decoder(model)
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
    for name in _PREFIXES:
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
