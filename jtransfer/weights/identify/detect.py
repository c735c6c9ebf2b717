"""Which model a checkpoint is of, told by the names and the shapes of its tensors. No tensor is read."""

import dataclasses
import difflib
import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jtransfer import models
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.models.paths import block, block_of, in_head
from jtransfer.weights import heads, maps
from jtransfer.weights.mapping import Scheme, as_tuple, best, finder
from jtransfer.weights.shapes import abstract

SAMPLE = 64  # names that are looked at to tell families apart
ENOUGH = 0.5  # share of them that a scheme must know
_NO_SHAPES = frozenset(["pixels", "drop_path", "dropout", "attention_dropout"])  # fields that no shape depends on
_GIVE_UP = 1  # groups of candidates without a nearer one, after which no further are tried


@dataclasses.dataclass(frozen=True)
class Detection:
    """How a checkpoint fits a model.

    Attributes:
      model: the model's name in `models.names()`.
      scheme: the naming scheme of the checkpoint, such as "torchvision".
      fields: what `models.create` takes beside the name: the number of classes, and what names and shapes don't show.
      unsure: fields that can't be told.
      missing: paths of parameters that no tensor fills, those of the head aside.
      unexpected: names of tensors that fill no parameter.
      reshaped: paths of parameters whose shape in the checkpoint is another.
      prefix: what the names of the model's tensors begin with, where it is one of several networks; else "".
    """

    model: str
    scheme: str
    fields: dict[str, Any]
    unsure: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    prefix: str = ""

    @property
    def misfits(self) -> int:
        """The number of parameters and tensors that do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)


def detect(
    tensors: Mapping[str, Any],
    aliases: Sequence[str] = (),
    stated: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
) -> Detection | None:
    """Returns the model that a checkpoint's names and shapes fit best, or None if too few of the names are known.

    Args:
      tensors: anything with a shape by name, such as `formats.open` returns.
      aliases: what the checkpoint is called elsewhere, such as "resnet50.a1_in1k"; models with like names are tried
        first.
      stated: fields that are known; a model takes those of them that it has.
      names: the names of the models that it may be of; by default, all.
    """
    nearest, worse = None, 0  # groups in a row, of which none is nearer than one before
    for group in [names] if names else _likely(_candidates(tensors), aliases):
        before = nearest
        for name in group:
            trial = compare(name, tensors, aliases, **own_fields(name, stated or {}))
            if nearest is None or trial.misfits < nearest.misfits:
                nearest = trial
            if not nearest.misfits:
                return _with_doubt(nearest, group, aliases)
        worse = worse + 1 if nearest is before else 0
        if worse == _GIVE_UP or (nearest and not nearest.missing and not nearest.reshaped):
            break
    return nearest


def _with_doubt(found: Detection, group: Sequence[str], aliases: Sequence[str]) -> Detection:
    """A model that fits, with `pixels` among what is unsure if a model of another preprocessing fits as well."""
    own, like = models.create(found.model, **found.fields), likeness(found.model, aliases)
    alike = [name for name in group if likeness(name, aliases) >= like and hasattr(own, "pixels")]
    for name in alike:
        usual = models.create(name)
        if type(usual) is type(own) and usual.pixels != own.pixels:
            other = models.create(name, **found.fields)
            if dataclasses.replace(other, pixels=own.pixels) == own:
                return dataclasses.replace(found, unsure=(*found.unsure, "pixels"))
    return found


def compare(name: str, tensors: Mapping[str, Any], aliases: Sequence[str] = (), **fields: Any) -> Detection:
    """Returns how a checkpoint fits one model.

    Args:
      name: the model's name in `models.names()`.
      tensors, aliases: as for `detect`.
      **fields: fields of the model.

    Raises:
      InputError: there is no such model or field.
    """
    sizes = maps.sizes(models.create(name), tensors) or {}
    model = models.create(name, **(sizes | fields))
    shapes = abstract(_without(model))
    flat = trees.flatten(shapes)
    params = {path: flat[full] for full, path in rules.names(shapes).items()}
    match = best(maps.schemes(model), tensors, params)
    classes, reshaped = None, []
    for assignment in match.assignments:
        for path, shape in zip(assignment.param_paths, assignment.shapes(tensors), strict=True):
            want = params[path].shape
            like_head = in_head(path) and bool(want) and want[-1] == getattr(model, "num_classes", None)
            if like_head and shape and shape[:-1] == want[:-1]:
                classes = shape[-1]
            elif shape != want:
                reshaped.append(path)
    drawn = heads.drawn(match.missing, params)
    missing = tuple(path for path in match.missing if path not in drawn)
    told = maps.fields(model, match.scheme.name, aliases, tensors) if match.assignments else {}
    fields = {**sizes, "num_classes": classes, **told}
    known = {key: value for key, value in fields.items() if value is not None}
    unsure = tuple(key for key in fields if key not in known and key != "num_classes")
    return Detection(name, match.scheme.name, known, unsure, missing, match.unexpected, tuple(reshaped))


def _without(model: Any) -> Any:
    """The model with the usual values of fields that do not matter here, so that models that differ in them are one."""
    usual = {f.name: f.default for f in dataclasses.fields(model) if f.name in _NO_SHAPES}
    return dataclasses.replace(model, **{n: v for n, v in usual.items() if v is not dataclasses.MISSING})


def own_fields(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of the fields that the model called `name` has, and in which it differs from them."""
    usual = models.create(name)
    names = {field.name for field in dataclasses.fields(usual)}
    return {key: value for key, value in fields.items() if key in names and getattr(usual, key) != value}


def _candidates(tensors: Mapping[str, Any]) -> dict[str, int]:
    """The models that know the most of the names → how much else speaks against them, before shapes are asked."""
    sample = list(tensors)[:: max(1, len(tensors) // SAMPLE)]
    known, counts = {}, {}  # many models of a family have the same names
    for name in models.names():
        model, tables = _usual(name)
        sizes = maps.sizes(model, tensors)
        if sizes is None:
            continue
        if sizes:
            model = models.create(name, **sizes)
            tables = _tables(model)
        for table in tables:
            if table.patterns not in counts:
                counts[table.patterns] = table.count(sample)
        known[name] = max(((counts[table.patterns], table, model) for table in tables), key=lambda entry: entry[0])
    most = max((count for count, _, _ in known.values()), default=0)
    if most < max(1, ENOUGH * len(sample)):
        return {}
    return {name: table.against(model, tensors) for name, (count, table, model) in known.items() if count == most}


@functools.cache
def _usual(name: str) -> tuple[Any, tuple["_Table", ...]]:
    """A model as it is by its name alone, and its tables."""
    model = models.create(name)
    return model, _tables(model)


def _tables(model: Any) -> tuple["_Table", ...]:
    return tuple(map(_Table, maps.schemes(model)))


class _Table:
    """A scheme's names without numbers to fill in, and its rows with."""

    def __init__(self, scheme: Scheme):
        rows = [(row, as_tuple(row.source)) for row in scheme.rows]
        self.patterns = tuple(pattern for _, source in rows for pattern in source)
        self.plain = {pattern for pattern in self.patterns if "{" not in pattern}
        self.find = finder([row for row, source in rows if any("{" in pattern for pattern in source)], "source")

    def count(self, names: Collection[str]) -> int:
        """How many of the names there is a row for."""
        return sum(name in self.plain or self.find(name) is not None for name in names)

    def against(self, model: Any, names: Collection[str]) -> int:
        """How many names are absent, and how many blocks are too many or too few."""
        assignments = [assignment for name in names if (assignment := self.find(name))]
        paths = [path for assignment in assignments for path in assignment.param_paths]
        blocks = {found for path in paths if (found := block_of(path))}
        depths = enumerate(getattr(model, "depths", ()), 1)
        wanted = {block(i, j) for i, depth in depths for j in range(depth)}
        return len(self.plain - set(names)) + (len(blocks ^ wanted) if blocks else 0)


def _likely(candidates: Mapping[str, int], aliases: Sequence[str]) -> list[list[str]]:
    """The candidates in groups, those first that the least speaks against, each with those first most like an alias."""
    ranked = sorted(candidates, key=lambda name: (candidates[name], -likeness(name, aliases)))
    return [list(group) for _, group in itertools.groupby(ranked, key=candidates.__getitem__)]


def likeness(name: str, aliases: Sequence[str]) -> float:
    """Returns how like a model's name is to the alias that is most like it, from 0 to 1."""
    return max(
        (difflib.SequenceMatcher(None, _letters(name), _letters(alias)).ratio() for alias in aliases), default=0.0
    )


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.split(".")[0].lower().removeprefix("tf_")))
