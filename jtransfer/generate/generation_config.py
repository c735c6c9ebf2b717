"""The settings of generation that a `generation_config.json` of Hugging Face's transformers states."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.generate.settings import Settings, make
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights import schema
from jtransfer.weights.identify import sidecar_files

_OTHERWISE = {"eos_token_id", "suppress_tokens", "forced_eos_token_id"}  # in another form there than in `Settings`
_SAME = {field.name for field in dataclasses.fields(Settings)} - _OTHERWISE
_READ = {*_SAME, *_OTHERWISE, "max_length", "min_length", "bos_token_id", "bad_words_ids"}
_SILENT = {  # fields that do not change the text
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "cache_implementation",
    "is_assistant",
    "low_memory",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "remove_invalid_values",
    "return_dict_in_generate",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
}
_ONE_OR_MORE = schema.either(schema.TOKEN, schema.many(schema.TOKEN, 0, 1 << 20))
_KINDS = {  # but for what `Settings` checks
    **dict.fromkeys(("eos_token_id", "suppress_tokens", "forced_eos_token_id"), _ONE_OR_MORE),
    "bad_words_ids": schema.many(schema.many(schema.TOKEN, 0, 1 << 16), 0, 1 << 20),
    **dict.fromkeys(("max_length", "min_length"), schema.whole(0, (1 << 31) - 1)),
    **dict.fromkeys(("bos_token_id", "decoder_start_token_id", "forced_bos_token_id", "pad_token_id"), schema.TOKEN),
}
_NEUTRAL = {  # rules that do not exist here, at the value with which they do nothing
    "diversity_penalty": 0.0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "typical_p": 1.0,
}


def from_config(config: Mapping[str, Any], *, encoder_decoder: bool, **overrides: Any) -> Settings:
    """The settings that the content of a `generation_config.json` states.

    `max_length` counts the first token of the decoder if there is an encoder. For a decoder alone it counts the prompt,
    whose length is not known here, so it is left out: give `max_new_tokens`. A config that draws tokens and does not
    state `top_k` means 50, as in transformers.

    Args:
      config: The content of the file.
      encoder_decoder: Whether the model has an encoder and a decoder.
      **overrides: Fields of `Settings` that win over the config.

    Raises:
      InputError: The config states a rule or a value that does not exist here, or there is no such field.
    """
    config = {key: value for key, value in config.items() if value is not None and key not in _SILENT}
    schema.check(config, _KINDS, "generation_config.json")
    for key, value in config.items():
        if key not in _READ and value != _NEUTRAL.get(key, False):
            raise InputError(
                f"generation_config.json: {key:.80}={schema.shown(value)}, which is not possible here; remove it"
            )
    found = {key: config[key] for key in _SAME if key in config}
    found["eos_token_id"] = _listed(config, "eos_token_id")
    found["suppress_tokens"] = _single_words(config, found["eos_token_id"]) + _listed(config, "suppress_tokens")
    ends = _listed(config, "forced_eos_token_id")
    if len(ends) > 1:
        raise InputError(
            f"generation_config.json: forced_eos_token_id={schema.shown(list(ends))}; here it is one token"
        )
    if ends:
        found["forced_eos_token_id"] = ends[0]
    if found["eos_token_id"]:
        found.setdefault("pad_token_id", found["eos_token_id"][0])
    if found.get("do_sample"):
        found.setdefault("top_k", 50)
    if encoder_decoder:
        lengths = {"max_new_tokens": config.get("max_length"), "min_new_tokens": config.get("min_length")}
        found = {key: max(0, length - 1) for key, length in lengths.items() if length is not None} | found
        if "bos_token_id" in config:
            found.setdefault("decoder_start_token_id", config["bos_token_id"])
    return make(**found | overrides)


def read(source: checkpoints.Source, *, encoder_decoder: bool, **overrides: Any) -> Settings:
    """The settings that the files beside a checkpoint state.

    They are in its `generation_config.json`, or in its `config.json` where there is no such file.

    Args:
      source: An address or an open checkpoint; see `weights.open`.
      encoder_decoder: Whether the model has an encoder and a decoder.
      **overrides: Fields of `Settings` that win over the file.

    Raises:
      InputError: As `from_config`, or the file is no JSON.
    """
    checkpoint = checkpoints.open(source)
    for name in (sidecar_files.GENERATION, "config.json"):
        path = checkpoint.file(name)
        if path is None:
            continue
        config = sidecar_files.read_json(path)
        if name == "config.json":
            config = {key: value for key, value in config.items() if key in _READ}
        return from_config(config, encoder_decoder=encoder_decoder, **overrides)
    return make(**overrides)


def _listed(config: Mapping[str, Any], key: str) -> tuple[int, ...]:
    given = config.get(key, ())
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _single_words(config: Mapping[str, Any], eos: tuple[int, ...]) -> tuple[int, ...]:
    """The forbidden words, each of one token; a token that ends a text can't be forbidden."""
    words = [tuple(word) for word in config.get("bad_words_ids", ())]
    long = [list(word) for word in words if len(word) != 1]
    if long:
        raise InputError(f"generation_config.json: bad_words_ids has {long[0]}; here each is one token")
    return tuple(word[0] for word in words if word[0] not in eos)
