"""The settings of text generation, with the names that Hugging Face's `GenerationConfig` gives them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import one_line

_RENAMED = {  # what earlier versions called the fields
    "beams": "num_beams",
    "eos": "eos_token_id",
    "forced_end": "forced_eos_token_id",
    "forced_start": "forced_bos_token_id",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "pad": "pad_token_id",
    "renormalize": "renormalize_logits",
    "sample": "do_sample",
    "start": "decoder_start_token_id",
    "suppressed": "suppress_tokens",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How text is generated: greedily, unless `num_beams` or `do_sample` say otherwise.

    The fields have the names and the meaning that they have in Hugging Face's transformers. Settings are hashable, so
    that they can be static arguments of jitted functions.

    Attributes:
      max_new_tokens: The number of new tokens after which a text ends at the latest.
      min_new_tokens: The number of new tokens that a text has at least.
      eos_token_id: The tokens that end a text.
      pad_token_id: The token that fills up texts that have ended.
      decoder_start_token_id: The first token of the decoder of an encoder–decoder, where the input has no
        `decoder_input_ids`.
      num_beams: The number of texts that beam search keeps for each input; 1 means no beam search.
      length_penalty: Beam search ranks finished texts by their log probability divided by
        length ** length_penalty.
      early_stopping: When beam search stops for an input: True, as soon as `num_beams` texts are finished; False, when
        no unfinished text could be better at its present length; "never", when none could be better at the best
        possible length.
      do_sample: Whether tokens are drawn at random instead of taking the most likely one.
      temperature: Divides the logits before drawing; 0 means greedy.
      top_k: Tokens are drawn from this many most likely ones; 0 means all.
      top_p: Tokens are drawn from the smallest set of most likely ones whose probabilities sum to at least this
        (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751).
      repetition_penalty: Divides the positive logits of tokens that are already in the text, and multiplies the
        negative ones (Keskar et al. 2019, arXiv:1909.05858).
      no_repeat_ngram_size: No sequence of this many tokens occurs twice in a text; 0 means no such rule.
      suppress_tokens: Tokens that are never generated.
      forced_bos_token_id: The first new token, if the prompt is a single token (`decoder_start_token_id`).
      forced_eos_token_id: The last token of a text that reaches `max_new_tokens`.
      renormalize_logits: Whether beam search renormalises log probabilities after the rules above have changed them.

    Raises:
      InputError: A value is out of its range.
    """

    max_new_tokens: int = 20
    min_new_tokens: int = 0
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int = 0
    decoder_start_token_id: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_tokens: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    renormalize_logits: bool = False

    def __post_init__(self):
        wrong = [
            f"{name}={one_line(repr(getattr(self, name)))}: give {wanted}"
            for name, (fits, wanted) in _RANGES.items()
            if not fits(getattr(self, name))
        ]
        if self.do_sample and self.num_beams > 1:
            wrong.append(f"num_beams={one_line(repr(self.num_beams))} with do_sample=True: choose one of them")
        if wrong:
            raise InputError("; ".join(wrong))


def make(**fields: Any) -> Settings:
    """`Settings` of fields as they stand in a config: lists are tuples, and one token stands for a list of one.

    Raises:
      InputError: There is no such field (the nearest is named), or a value is out of its range.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in fields:
        if name not in known:
            raise unknown("setting of generation", name, known)
    return Settings(**{name: _tuple(name, value) for name, value in fields.items()})


def upgrade_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `Settings` that an earlier version stored, such as `generate.fields` of a run, with today's names."""
    return {_RENAMED.get(name, name): value for name, value in fields.items()}


def _tuple(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if name in ("eos_token_id", "suppress_tokens") and isinstance(value, int) else value


def _number(low: float, high: float = float("inf")) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low: int) -> Callable[[Any], bool]:
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
    "eos_token_id": (_tokens, _SOME_TOKENS),
    "pad_token_id": (_token, "the number of a token"),
    "decoder_start_token_id": (_token_or_none, _A_TOKEN),
    "num_beams": (_whole(1), "a whole number from 1"),
    "length_penalty": (_number(-float("inf")), "a number"),
    "early_stopping": (lambda value: _flag(value) or value == "never", "True, False or 'never'"),
    "do_sample": (_flag, "True or False"),
    "temperature": (_number(0.0), "a number from 0"),
    "top_k": (_whole(0), "a whole number from 0 (all)"),
    "top_p": (_number(1e-6, 1.0), "a number above 0, up to 1"),
    "repetition_penalty": (_number(1e-6), "a number above 0"),
    "no_repeat_ngram_size": (_whole(0), "a whole number from 0 (no rule)"),
    "suppress_tokens": (_tokens, _SOME_TOKENS),
    "forced_bos_token_id": (_token_or_none, _A_TOKEN),
    "forced_eos_token_id": (_token_or_none, _A_TOKEN),
    "renormalize_logits": (_flag, "True or False"),
}
