"""Which modules an adapter_config.json means, as PEFT reads it."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from jtransfer.core.errors import InputError, some
from jtransfer.weights.adapters import pattern as patterns
from jtransfer.weights.adapters.config import Config

ALL_LINEAR = "all-linear"


def check(config: Config, named: Collection[str], known: Collection[str], linear: Collection[str], head: str) -> None:
    """Checks that an adapter has tensors for each module that it is of, and for no other.

    Args:
      config: what its adapter_config.json says.
      named: the modules that have tensors.
      known: all modules of the model that can be adapted.
      linear: those among them that are linear layers.
      head: the name of the model's head, which "all-linear" leaves out.

    Raises:
      InputError: a module has none, or is not meant.
    """
    meant = _meant(config)
    if meant is None:
        return
    asked = config.fields["target_modules"]
    every = isinstance(asked, str) and asked.lower() == ALL_LINEAR
    expected = [name for name in known if meant(name) and (not every or (name in linear and name != head))]
    if missing := [name for name in expected if name not in named]:
        raise InputError(
            f"{config.where}: target_modules means {some(missing)}, of which there is no tensor; the file is not whole"
        )
    if odd := [name for name in named if not meant(name)]:
        raise InputError(f"{config.where}: there are tensors of {some(odd)}, which target_modules does not mean")


def _meant(config: Config) -> Callable[[str], bool] | None:
    """Whether a module is meant, by name; None where the config does not say it."""
    asked = config.fields.get("target_modules")
    if asked is None:
        return None
    where = config.where
    matches = matcher(asked, f"{where}: target_modules")
    excluded = matcher(config.fields.get("exclude_modules") or [], f"{where}: exclude_modules")
    saved = [
        patterns.compile(rf"(.*\.)?({name})(\..*)?", f"{where}: modules_to_save")
        for name in config.fields.get("modules_to_save") or ()
    ]
    chosen = _layers(config) if isinstance(asked, list) else lambda name: True

    def meant(name: str) -> bool:
        return not excluded(name) and not any(save(name) for save in saved) and matches(name) and chosen(name)

    return meant


def matcher(asked: Any, where: str) -> Callable[[str], bool]:
    """Returns whether a module is meant by a regular expression of whole names, or by a list of what names end in.

    Args:
      asked: of adapter_config.json.
      where: what it is in an error.
    """
    if isinstance(asked, str):
        return (lambda name: True) if asked.lower() == ALL_LINEAR else patterns.compile(asked, where)
    names, ends = set(asked), tuple(f".{name}" for name in asked)
    return lambda name: name in names or name.endswith(ends)


def _layers(config: Config) -> Callable[[str], bool]:
    """Whether a module is in one of the layers that are meant."""
    wanted = config.fields.get("layers_to_transform")
    if wanted is None or wanted == []:
        return lambda name: True
    numbers = {wanted} if isinstance(wanted, int) else set(wanted)
    asked = config.fields.get("layers_pattern") or ()
    inside = [asked] if isinstance(asked, str) else list(asked)
    return lambda name: any(number in numbers for number in _number(name, inside, config.where))


def _number(name: str, inside: Iterable[str], where: str) -> list[int]:
    """The number of the layer that a module is in, alone; none where it is in no layer."""
    parts = name.split(".")
    for i, part in enumerate(parts[1:-1], 1):
        if not part.isdecimal():
            continue
        if not inside:
            return [int(part)] if i > 1 else []
        before = ".".join(parts[:i])
        if any(patterns.compile(rf"(.*\.)?({pattern})", f"{where}: layers_pattern")(before) for pattern in inside):
            return [int(part)]
    return []
