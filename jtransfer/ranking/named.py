"""Sources as a user names them: what a run may begin with, and how its model is described where it doesn't say it."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer import models, weights
from jtransfer.core.errors import InputError, some
from jtransfer.core.show import one_line
from jtransfer.runs import config as configs
from jtransfer.runs import folder as folders

SCRATCH = "scratch"
_OPEN, _CLOSED = "([{", ")]}"


class Named(NamedTuple):
    """A source.

    Attributes:
      name: As it was given.
      init: What a run begins with, as `config.init`.
      model: The name of its model; "" is what it says itself.
      fields: Fields of the model.
      stage: The stage whose features are looked at; "" is that before the head.
    """

    name: str
    init: str
    model: str
    fields: Mapping[str, Any]
    stage: str


def parse_all(texts: str | Sequence[str]) -> list[Named]:
    """Returns the sources that a user names, in order.

    Args:
      texts: Names, or one text with commas between them.

    Raises:
      InputError: There is none, one is there twice, or is not written so.
    """
    given = _cut(texts, ",") if isinstance(texts, str) else list(texts)
    found = [parse(text.strip()) for text in given if text.strip()]
    if not found:
        raise InputError("give sources: --sources=scratch,hf://org/name,runs/other")
    twice = sorted({one.name for one in found if sum(one == other for other in found) > 1})
    if twice:
        raise InputError(f"the source {some(twice)} is named twice")
    return found


def parse(text: str) -> Named:
    """Returns the source of one name, `INIT|model=NAME|stage=STAGE|FIELD=VALUE`.

    Raises:
      InputError: It is not written so.
    """
    init, *settings = _cut(text, "|")
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (init and equals and key.strip().isidentifier()):
            raise InputError(f"source {one_line(text)!r}: write INIT|model=NAME|stage=STAGE|FIELD=VALUE")
        found[key.strip()] = value.strip()
    model, stage = found.pop("model", ""), found.pop("stage", "")
    return Named(text, init.strip(), model, {key: _literal(value) for key, value in found.items()}, stage)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _cut(text: str, at: str) -> list[str]:
    """The parts of a text between characters that stand outside of brackets."""
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in _OPEN) - (letter in _CLOSED)
        if letter == at and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def config_of(config: Any, source: Named) -> Any:
    """Returns the config of a run that begins with a source.

    The model is what the source says of itself, with the fields that are given with it. The config's own model counts
    for "scratch", for the config's own init, and where it is made of others. What of the data the config takes from its
    own init, such as a tokenizer, is taken from the source.

    Args:
      config: A complete config.
      source: The source.

    Raises:
      InputError: The source does not say what model it is of.
    """
    full = config.copy_and_resolve_references().unlock()
    full.init = source.init
    own = source.init in (SCRATCH, config.init) or config.model.name in models.MADE
    if source.model or not own:
        full.model.name, full.model.fields, full.init_parts = source.model, type(full)(), type(full)()
    if not full.model.name and source.init != SCRATCH:
        _check_stated(source)
    if source.init not in (SCRATCH, config.init):
        for field in [name for name, value in config.data.items() if value == config.init != SCRATCH]:
            full.data[field] = ""
    full.model.fields = type(full)(full.model.fields.to_dict() | dict(source.fields))
    return configs.complete(full)


def reading(config: Any) -> Any:
    """Returns a config of the same model and target, without what only training needs.

    Args:
      config: As `config_of` returns it.
    """
    full, usual = config.copy_and_resolve_references().unlock(), configs.default()
    for name in ("streams", "teachers", "source", "alone", "adapters", "adapters_init", "quantize", "objective"):
        full[name] = usual[name]
    full.phases, full.evals = usual.phases, []
    return configs.complete(full)


def _check_stated(source: Named) -> None:
    if folders.is_run(source.init):
        return
    try:
        weights.describe(source.init)
    except InputError as error:
        raise InputError(f"{error}; if it does not say what model it is of, write {source.init}|model=NAME") from None
