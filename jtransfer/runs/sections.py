"""Sections of a config that a user names: streams, teachers, and further data."""

import re
from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.registry import is_address
from jtransfer.modalities import MODALITIES, fields
from jtransfer.runs import filling

STREAM = {
    "data": {},  # as `config.data`; fields of the modality that are left out are those of the target
    "share": 0.0,  # of each batch, or of the steps; 0 is told by the sizes of the data sets
    "weight": 1.0,  # of its loss
    "task": "",  # "" is told by its data
    "modality": "",
    "head": "",  # "shared" or "own"; "" is shared where the classes are the target's
    "norms": "",  # batch norms: "shared" or "" with the target; "statistics" of its own; "own", scales and biases, too
}

TEACHER = {
    "init": "",  # another run, a checkpoint, or an address
    "model": "",  # its name, or an address; "" is what `init` is of
    "fields": {},  # of the model
    "data": {},  # how examples are prepared for it, as {"eval_transform": …}; left out, as its run or its files say
    "cache": True,  # its outputs are computed once, and kept; False runs it in each step, on the augmented inputs
}
FREE = frozenset(  # sections that may have any key
    ("alone", "fields", "init_parts", "kwargs", "mesh", "source", "streams", "teachers")
)
_OWN = frozenset(
    ["name", "train", "validation", "test", "label_key", "labels", "missing", "sampling"]
)  # fields of a stream's data


def stream(name: str, given: Any, full: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stream's section; its data have the target's fields of the modality where it gives none."""
    where = f"streams.{name}"
    if name == "target" or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise InputError(f"{where}: a stream's name is of letters, digits and '_', and not 'target'")
    found = filling.fill(STREAM, filling.plain(given, where), where, FREE | {"data"})
    of = found["modality"] or full["modality"]
    found["data"] = data(found["data"], full, f"{where}.data", of, {**usual, "test": ""})
    if not 0 <= found["share"] < 1 or found["weight"] < 0:
        raise InputError(f"{where}: share must be at least 0 and below 1, and weight at least 0")
    return found


def data(given: Any, full: Mapping[str, Any], where: str, modality: str, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of further data; those of the modality are the target's where none are given."""
    own = {**usual, "train": "train"}
    if is_address(modality):
        own |= fields(MODALITIES[modality])
    inherited = {key: full["data"][key] for key in own if key in full["data"] and key not in _OWN}
    return filling.fill(own | inherited, given, where, FREE)


def teacher(name: str, given: Any) -> dict[str, Any]:
    """Returns a teacher's section."""
    where = f"teachers.{name}"
    if name in ("ema", "initial") or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise InputError(f"{where}: a teacher's name is of letters, digits and '_', and not 'ema' or 'initial'")
    found = filling.fill(TEACHER, filling.plain(given, where), where, FREE | {"data"})
    if not found["init"] or found["init"] == "scratch":
        raise InputError(f"{where}.init is {found['init']!r}; give the run or the weights that it is")
    return found
