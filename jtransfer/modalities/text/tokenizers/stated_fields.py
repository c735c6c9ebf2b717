"""The fields of tokenizers' configuration files that are followed, and the types that they must have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line

_FLAGS = (
    *("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space"),
    *("add_bos_token", "add_eos_token", "legacy", "separate_vocabs"),
)
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(_FLAGS, ((bool, type(None)), "be true or false")),
    "tokenizer_class": ((str, type(None)), "be a text"),
    "extra_ids": ((int,), "be a whole number"),
    "model_max_length": ((int, float, type(None)), "be a number"),
    "max_len": ((int, float, type(None)), "be a number"),
    "added_tokens_decoder": ((dict,), "map numbers to objects with content"),
    "model_input_names": ((list, type(None)), "be a list"),
}
_MOST_SENTINELS = 10_000


def check(config: Mapping[str, Any], folder: Path) -> None:
    """Checks the fields of the configuration files of a tokenizer.

    Raises:
      InputError: One has another type than the field has in transformers, or a number that no tokenizer has.
    """
    for name, (types, what) in _TYPES.items():
        value = config.get(name, None if type(None) in types else types[0]())
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InputError(f"{folder / 'tokenizer_config.json'}: {name} must {what}, not {_said(value)}")
    if not 0 <= config.get("extra_ids", 0) <= _MOST_SENTINELS:
        raise InputError(f"{folder}: extra_ids={_said(config['extra_ids'])}: at most {_MOST_SENTINELS:,} are read")
    for name in ("model_max_length", "max_len"):
        if not (config.get(name) or 1) > 0:
            raise InputError(f"{folder / 'tokenizer_config.json'}: {name}={_said(config[name])}: must be above 0")


def _said(value: Any) -> str:
    return one_line(f"{value!r:.60}", 60)
