"""Tokens beside a tokenizer's vocabulary: special tokens and added ones, as the files beside it state them.

They are added as transformers adds them, so that they get the same ids: first those of `added_tokens_decoder` or
`added_tokens.json`, by their ids, and then the special tokens that are not among them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import limits

NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_EXTRA, _OLDER_EXTRA = "extra_special_tokens", "additional_special_tokens"
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def stated(folder: Path, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the configuration files beside a vocabulary say together.

    Where `tokenizer_config.json` has `added_tokens_decoder`, the older files `special_tokens_map.json` and
    `added_tokens.json` count no more. Otherwise the entries of the former go before its own, and the tokens of the
    latter become `added_tokens_decoder`.

    Args:
      folder: The folder of the files, for errors.
      contents: Name of a file → its content, for those of the three that exist.

    Raises:
      InputError: A file is no object.
    """
    for name, content in contents.items():
        if not isinstance(content, dict):
            raise InputError(f"{folder / name}: must be an object {{…}}")
    config = dict(contents.get("tokenizer_config.json", {}))
    if not config.get(_EXTRA):
        config[_EXTRA] = config.pop(_OLDER_EXTRA, None)
    if "added_tokens_decoder" in config:
        return config
    config |= {key: _special(value) for key, value in contents.get("special_tokens_map.json", {}).items()}
    tokens = (*(config.get(f"{name}_token") for name in NAMES), *_list(config[_EXTRA]))
    special = {_content(token) for token in tokens}
    older = contents.get("added_tokens.json", {})
    decoder = {i: {"content": t, "normalized": t not in special, "special": t in special} for t, i in older.items()}
    return config | ({"added_tokens_decoder": decoder} if decoder else {})


def add(made: hf.Tokenizer, config: Mapping[str, Any], usual: Mapping[str, str], path: Path) -> None:
    """Adds the tokens that the configuration states to a tokenizer.

    Args:
      made: The tokenizer, which is changed.
      config: What `stated` returns.
      usual: Name of a special token, such as "pad" → the token that the kind of tokenizer has unless the configuration
        says otherwise.
      path: The path of the vocabulary, for errors.

    Raises:
      InputError: A token is no text and no object with `content`.
    """
    decoder = config.get("added_tokens_decoder", {})
    extra = _list(config.get(_EXTRA) or (path.suffix != ".model" and config.get(_OLDER_EXTRA)))
    try:
        tokens = [_token(token) for _, token in sorted(decoder.items(), key=lambda item: int(item[0]))]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: added_tokens_decoder must map numbers to objects with content") from None
    known = {token.content for token in (*tokens, *made.get_added_tokens_decoder().values())}
    for value in (*_named(config, usual), *extra):
        content = _content(value)
        if content and content not in known:
            tokens.append(_token(value, special=True))
            known.add(content)
    limits.check_pieces([token.content for token in tokens], path)
    made.add_tokens(tokens)


def moved(made: hf.Tokenizer, config: Mapping[str, Any]) -> str:
    """Returns a warning if the files give a token another id than it has, or ""."""
    for i, value in config.get("added_tokens_decoder", {}).items():
        content = _content(value)
        if content is not None and made.token_to_id(content) != int(i):
            return f"the files give the token {content!r} the id {i}, but it has {made.token_to_id(content)}"
    return ""


def named(config: Mapping[str, Any], usual: Mapping[str, str]) -> dict[str, str]:
    """Returns the special tokens by name, such as "pad", of those that there are. The arguments are as for `add`."""
    found = {name: config.get(f"{name}_token", usual.get(name)) for name in NAMES}
    return {name: content for name, token in found.items() if (content := _content(token))}


def _named(config: Mapping[str, Any], usual: Mapping[str, str]) -> Iterator[Any]:
    yield from (config.get(f"{name}_token", usual.get(name)) for name in NAMES)
    for key, value in config.items():
        if key.endswith("_token") and key.removesuffix("_token") not in NAMES and isinstance(value, str):
            yield value


def _list(tokens: Any) -> list[Any]:
    return list(tokens.values()) if isinstance(tokens, dict) else list(tokens) if isinstance(tokens, list) else []


def _special(value: Any) -> Any:
    return {**value, "special": True} if isinstance(value, dict) and "content" in value else value


def _content(token: Any) -> str | None:
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def _token(value: Any, special: bool = False) -> hf.AddedToken:
    if isinstance(value, str):
        return hf.AddedToken(value, special=special)
    flags = {name: value[name] for name in _FLAGS if isinstance(value.get(name), bool)}
    return hf.AddedToken(value["content"], **flags | ({"special": True} if special else {}))
