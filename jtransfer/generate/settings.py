"""How text is generated, and what a generation_config.json says of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jtransfer.core.errors import InputError, unknown
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights.identify import sidecar_files


@dataclasses.dataclass(frozen=True)
class Settings:
    """How text is generated: greedily, unless `beams` or `sample` say otherwise.

    Attributes:
      max_new_tokens: a text ends after as many tokens, if not before.
      min_new_tokens: no text ends before it has as many.
      eos: tokens that end a text.
      pad: token that fills up texts that have ended.
      start: first token of a decoder beside an encoder, where the input has no `decoder_input_ids`.
      beams: number of texts that beam search pursues.
      length_penalty: beam search ranks ended texts by log probability / length ** length_penalty.
      early_stopping: beam search of a text stops as soon as `beams` texts have ended (True), when none that goes on
        could be better at its present length (False), or at the best length for it ("never").
      sample: draw tokens, in place of the most likely ones.
      temperature: divides the logits before drawing; 0 is greedy.
      top_k: draw from this number of most likely tokens; 0 is all.
      top_p: draw from the fewest most likely tokens whose probabilities sum to this at least (Holtzman et al. 2020).
      repetition_penalty: positive logits of tokens that are there already are divided by it, negative ones multiplied
        (Keskar et al. 2019).
      no_repeat_ngram: no sequence of this number of tokens comes twice; 0 is no such rule.
      suppressed: tokens that are never generated.
      forced_start: the first new token, where the prompt is one token (the decoder's `start`).
      forced_end: the last token of a text that does not end before `max_new_tokens`.
      renormalize: beam search adds log probabilities that sum to one after the rules above.

    Raises:
      InputError: a value is out of its range.
    """

    max_new_tokens: int = 20
    min_new_tokens: int = 0
    eos: tuple[int, ...] = ()
    pad: int = 0
    start: int | None = None
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    suppressed: tuple[int, ...] = ()
    forced_start: int | None = None
    forced_end: int | None = None
    renormalize: bool = False

    def __post_init__(self):
        wrong = [
            f"{name}={getattr(self, name)!r}: give {wanted}"
            for name, (fits, wanted) in _RANGES.items()
            if not fits(getattr(self, name))
        ]
        if self.sample and self.beams > 1:
            wrong.append(f"beams={self.beams} with sample=True: choose one of them")
        if wrong:
            raise InputError("; ".join(wrong))


def _number(low: float, high: float = float("inf")):
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


_token = _whole(0)


def _tokens(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_token, value))


def _token_or_none(value: Any) -> bool:
    return value is None or _token(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


_A_TOKEN, _SOME_TOKENS = "the number of a token, or None", "numbers of tokens"
_RANGES = {
    "max_new_tokens": (_whole(1), "a whole number from 1"),
    "min_new_tokens": (_whole(0), "a whole number from 0"),
    "eos": (_tokens, _SOME_TOKENS),
    "pad": (_token, "the number of a token"),
    "start": (_token_or_none, _A_TOKEN),
    "beams": (_whole(1), "a whole number from 1"),
    "length_penalty": (_number(-float("inf")), "a number"),
    "early_stopping": (lambda value: _flag(value) or value == "never", "True, False or 'never'"),
    "sample": (_flag, "True or False"),
    "temperature": (_number(0.0), "a number from 0"),
    "top_k": (_whole(0), "a whole number from 0 (all)"),
    "top_p": (_number(1e-6, 1.0), "a number above 0, up to 1"),
    "repetition_penalty": (_number(1e-6), "a number above 0"),
    "no_repeat_ngram": (_whole(0), "a whole number from 0 (no rule)"),
    "suppressed": (_tokens, _SOME_TOKENS),
    "forced_start": (_token_or_none, _A_TOKEN),
    "forced_end": (_token_or_none, _A_TOKEN),
    "renormalize": (_flag, "True or False"),
}

_OURS = {
    "max_new_tokens": "max_new_tokens",
    "min_new_tokens": "min_new_tokens",
    "pad_token_id": "pad",
    "decoder_start_token_id": "start",
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "do_sample": "sample",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "forced_bos_token_id": "forced_start",
    "renormalize_logits": "renormalize",
}
_READ = {
    *_OURS,
    "max_length",
    "min_length",
    "eos_token_id",
    "bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "suppress_tokens",
}
_SILENT = {  # what says nothing of the text
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
_NEUTRAL = {  # rules that are not here, at the value where they do nothing
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
    """The settings that a generation_config.json of transformers gives; overrides are fields of `Settings`.

    A `max_length` counts the decoder's first token where there is an encoder; elsewhere it counts the prompt, of which
    nothing is known here, and is left out: give `max_new_tokens`. A drawing config without `top_k` has 50, as there.

    Raises:
      InputError: a field has a value that is not possible here, or there is no such field.
    """
    config = {key: value for key, value in config.items() if value is not None and key not in _SILENT}
    for key, value in config.items():
        if key not in _READ and value != _NEUTRAL.get(key, False):
            raise InputError(f"generation_config.json: {key}={value!r}, which is not possible here; remove it")
    found = {ours: config[theirs] for theirs, ours in _OURS.items() if theirs in config}
    found["eos"] = _listed(config, "eos_token_id")
    found["suppressed"] = _single_words(config, found["eos"]) + _listed(config, "suppress_tokens")
    ends = _listed(config, "forced_eos_token_id")
    if len(ends) > 1:
        raise InputError(f"generation_config.json: forced_eos_token_id={list(ends)}; here it is one token")
    found |= {"forced_end": ends[0]} if ends else {}
    found |= {"pad": found["eos"][0]} if "pad" not in found and found["eos"] else {}
    found |= {"top_k": 50} if found.get("sample") and "top_k" not in found else {}
    if encoder_decoder:
        lengths = {"max_new_tokens": config.get("max_length"), "min_new_tokens": config.get("min_length")}
        found = {key: max(0, length - 1) for key, length in lengths.items() if length is not None} | found
        found |= {"start": config["bos_token_id"]} if "start" not in found and "bos_token_id" in config else {}
    return _made(**found | overrides)


def read(source: checkpoints.Source, *, encoder_decoder: bool, **overrides: Any) -> Settings:
    """The settings beside a checkpoint: of its generation_config.json, or of its config.json where there is none.

    Args:
      source: an address or an open checkpoint; see `weights.open`.
      encoder_decoder: whether the model has an encoder and a decoder.
      **overrides: fields of `Settings`.

    Raises:
      InputError: as `from_config`, or the file is no JSON.
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
    return _made(**overrides)


def _made(**fields: Any) -> Settings:
    """`Settings` of these fields; lists become tuples.

    Raises:
      InputError: no such field, or a value out of its range.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in fields:
        if name not in known:
            raise unknown("setting of generation", name, known)
    return Settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def _listed(config: Mapping[str, Any], key: str) -> tuple[int, ...]:
    given = config.get(key, ())
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _single_words(config: Mapping[str, Any], eos: tuple[int, ...]) -> tuple[int, ...]:
    """Forbidden words of one token; an end of the text can't be forbidden."""
    words = [tuple(word) for word in config.get("bad_words_ids", ())]
    long = [list(word) for word in words if len(word) != 1]
    if long:
        raise InputError(f"generation_config.json: bad_words_ids has {long[0]}; here each is one token")
    return tuple(word[0] for word in words if word[0] not in eos)
