"""Which model a checkpoint is of, by its names and shapes; no tensor is read."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jtransfer import models
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.weights import maps
from jtransfer.weights.load import HEAD, abstract
from jtransfer.weights.mapping import Scheme, best, find

SAMPLE = 64  # names that are looked at to tell families apart
ENOUGH = 0.5  # share of them that a scheme must know


@dataclasses.dataclass(frozen=True)
class Guess:
    """The model that fits best.

    Attributes:
      model: its name in `models.names()`.
      scheme: whose names the checkpoint has.
      fields: what `models.create` takes beside the name: the width of the head, and what names and shapes don't show.
      unsure: fields that can't be told.
      missing, unexpected: our paths and checkpoint names without a counterpart, those of the head aside.
      reshaped: our paths whose shape in the checkpoint is another.
    """

    model: str
    scheme: str
    fields: dict[str, Any]
    unsure: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)


def guess(
    tensors: Mapping[str, Any],
    hints: Sequence[str] = (),
    stated: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> Guess | None:
    """The model that the checkpoint's names and shapes fit best; None where too few names are known.

    Args:
      tensors: names → anything with a shape, as `formats.open` gives them.
      hints: what the checkpoint is called elsewhere, such as "resnet50.a1_in1k"; like names are tried first.
      stated: fields that are known; a model has those of them that are its own.
      names: the models that it may be of; by default all.
    """
    found = None
    for name in names or _likely(_candidates(tensors), hints):
        trial = fit(name, tensors, hints, **own_fields(name, stated or {}))
        if found is None or trial.misfits < found.misfits:
            found = trial
        if not found.misfits:
            break
    return found


def fit(name: str, tensors: Mapping[str, Any], hints: Sequence[str] = (), **fields: Any) -> Guess:
    """How the checkpoint fits the model called `name` with these fields. Arguments as for `guess`."""
    sizes = maps.sizes(models.create(name), tensors) or {}
    model = models.create(name, **(sizes | fields))
    shapes = abstract(model)
    flat = trees.flatten(shapes)
    leaves = {path: flat[full] for full, path in rules.names(shapes).items()}
    found = best(maps.schemes(model), tensors, leaves)
    classes, reshaped = None, []
    for link in found.links:
        for path, shape in zip(link.ours, link.shapes(tensors), strict=True):
            want = leaves[path].shape
            if path.startswith(HEAD) and shape and shape[:-1] == want[:-1] and want[-1] == model.num_classes:
                classes = shape[-1]
            elif shape != want:
                reshaped.append(path)
    missing = tuple(path for path in found.missing if not path.startswith(HEAD))
    fields = {**sizes, "num_classes": classes, **maps.fields(model, found.scheme.name, hints, tensors)}
    known = {key: value for key, value in fields.items() if value is not None}
    unsure = tuple(key for key in fields if key not in known and key != "num_classes")
    return Guess(name, found.scheme.name, known, unsure, missing, found.unexpected, tuple(reshaped))


def own_fields(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Of the fields, those that the model called `name` has and that differ from its own."""
    usual = models.create(name)
    names = {field.name for field in dataclasses.fields(usual)}
    return {key: value for key, value in fields.items() if key in names and getattr(usual, key) != value}


def _candidates(tensors: Mapping[str, Any]) -> dict[str, int]:
    """The models that know the most of the names → how much else speaks against them, before shapes are asked."""
    sample = list(tensors)[:: max(1, len(tensors) // SAMPLE)]
    known = {}
    for name in models.names():
        model = models.create(name)
        try:
            sizes = maps.sizes(model, tensors)
            if sizes is None:
                continue
            model = models.create(name, **sizes) if sizes else model
            tables = [_Table(scheme) for scheme in maps.schemes(model)]
        except InputError:
            continue
        known[name] = max(((table.count(sample), table, model) for table in tables), key=lambda entry: entry[0])
    most = max((count for count, _, _ in known.values()), default=0)
    if most < max(1, ENOUGH * len(sample)):
        return {}
    return {name: table.against(model, tensors) for name, (count, table, model) in known.items() if count == most}


class _Table:
    """A scheme's names without numbers to fill in, and its rows with."""

    def __init__(self, scheme: Scheme):
        sides = [(row, row.foreign if isinstance(row.foreign, tuple) else (row.foreign,)) for row in scheme.rows]
        self.plain = {side for _, foreign in sides for side in foreign if "{" not in side}
        self.patterned = [row for row, foreign in sides if any("{" in side for side in foreign)]

    def count(self, names: Collection[str]) -> int:
        """How many of the names there is a row for."""
        return sum(name in self.plain or find(self.patterned, name, "foreign") is not None for name in names)

    def against(self, model: Any, names: Collection[str]) -> int:
        """How many names are absent, and how many blocks are too many or too few."""
        links = [link for name in names if (link := find(self.patterned, name, "foreign"))]
        blocks = {block[0] for link in links for path in link.ours if (block := re.match(r"stage\d+/block\d+", path))}
        depths = enumerate(getattr(model, "depths", ()), 1)
        wanted = {f"stage{i}/block{j}" for i, depth in depths for j in range(depth)}
        return len(self.plain - set(names)) + (len(blocks ^ wanted) if blocks else 0)


def _likely(candidates: Mapping[str, int], hints: Sequence[str]) -> list[str]:
    """The candidates that the least speaks against, those most like a hint first."""
    least = min(candidates.values(), default=0)
    equal = (name for name, against in candidates.items() if against == least)
    return sorted(equal, key=lambda name: -likeness(name, hints))


def likeness(name: str, hints: Sequence[str]) -> float:
    """How much a model's name is like the nearest of what a checkpoint is called elsewhere: 0 … 1."""
    return max((difflib.SequenceMatcher(None, _plain(name), _plain(hint)).ratio() for hint in hints), default=0.0)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.split(".")[0].lower().removeprefix("tf_")))
