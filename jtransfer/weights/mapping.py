"""Weights maps: tables of invertible rows between the names in a checkpoint and the paths of a model's parameters.

    Map("layer{i}.{j}.conv{k}.weight", "stage{i}/block{j}/conv{k}/kernel", conv2d)

Read from left to right a row imports a tensor, from right to left it exports a parameter. `{i}` stands for a whole
number, and `{i+1}` for that number plus one. The first row that fits a name wins, on either side. A side may be a tuple
of patterns with the same numbers: then several tensors make up one parameter, or one tensor makes up several, and the
transform takes and returns as many arrays.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jtransfer.models.paths import in_head
from jtransfer.weights import heads

_T = TypeVar("_T")
Arrays = np.ndarray | tuple[np.ndarray, ...]

_NUMBER = re.compile(r"\{(\w+)([+-]\d+)?\}")


class Transform(NamedTuple):
    """A pair of inverse functions of arrays.

    Attributes:
      load: from the checkpoint's layout to the model's; takes one array for each name, returns one for each path.
      save: from the model's layout to the checkpoint's.
      axis: where `load` returns a copy: the axis of the parameter into which the checkpoint's first axis goes row by
        row, so that a few rows can be loaded without the others.
      axes: where `load` only reorders axes, and drops some of length 1: for each axis of the parameter, which axis of
        the checkpoint's tensor it is, so that a part can be loaded without the rest.
    """

    load: Callable[..., Arrays]
    save: Callable[..., Arrays]
    axis: int | None = None
    axes: tuple[int, ...] | None = None


identity = Transform(lambda x: x, lambda x: x)
linear = Transform(lambda x: x.T, lambda x: x.T, axes=(1, 0))  # [out, in] ↔ [in, out]
# OIHW ↔ HWIO, also of depthwise convolutions
conv2d = Transform(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1), axes=(2, 3, 1, 0))
# 1×1 convolution ↔ dense layer
pointwise = Transform(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None], axes=(1, 0))


def flat_linear(height: int, width: int) -> Transform:
    """Returns the transform of a dense layer over a flattened feature map: [out, c·h·w] ↔ [h·w·c, out]."""

    def load(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, height, width).transpose(2, 3, 1, 0).reshape(-1, len(x))

    def save(x: np.ndarray) -> np.ndarray:
        return x.reshape(height, width, -1, x.shape[1]).transpose(3, 2, 0, 1).reshape(x.shape[1], -1)

    return Transform(load, save, axis=-1)


def flat_conv(height: int, width: int) -> Transform:
    """Returns the transform of a convolution over a whole map to a dense layer: [out, c, h, w] ↔ [h·w·c, out]."""

    def load(x: np.ndarray) -> np.ndarray:
        return x.transpose(2, 3, 1, 0).reshape(-1, len(x))

    def save(x: np.ndarray) -> np.ndarray:
        return x.reshape(height, width, -1, x.shape[1]).transpose(3, 2, 0, 1)

    return Transform(load, save, axis=-1)


@dataclasses.dataclass(frozen=True)
class Map:
    """One row of a table of names.

    Attributes:
      source: the pattern of the checkpoint's names, or a tuple of patterns.
      params: the pattern of the parameters' paths, without the variable collection, or a tuple of patterns.
      transform: between the layouts of the two sides.
    """

    source: str | tuple[str, ...]
    params: str | tuple[str, ...]
    transform: Transform = identity


def conv(source: str, params: str) -> list[Map]:
    """Returns the rows of a torch convolution with the names `source.weight` and `source.bias`."""
    return [Map(f"{source}.weight", f"{params}/kernel", conv2d), Map(f"{source}.bias", f"{params}/bias")]


def dense(source: str, params: str) -> list[Map]:
    """Returns the rows of a torch linear layer with the names `source.weight` and `source.bias`."""
    return [Map(f"{source}.weight", f"{params}/kernel", linear), Map(f"{source}.bias", f"{params}/bias")]


def batch_norm(source: str, params: str) -> list[Map]:
    """Returns the rows of a torch batch norm, its running statistics included."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return [Map(f"{source}.{name}", f"{params}/{param}") for name, param in names.items()]


def layer_norm(source: str, params: str) -> list[Map]:
    """Returns the rows of a torch layer norm."""
    return [Map(f"{source}.weight", f"{params}/scale"), Map(f"{source}.bias", f"{params}/bias")]


@dataclasses.dataclass(frozen=True)
class Scheme:
    """All the names that one library has for the parameters of one model.

    Attributes:
      name: of the scheme, such as "torchvision".
      rows: the table.
      ignore: regular expressions of whole checkpoint names whose tensors carry nothing (derived or unused).
      zeros: names, with shapes, of those among them that the library's model asks for all the same.
      derived: names, with values, of those that it asks for and that are not zeros.
      head: regular expressions of the names of the library's head, where the model here has none.
    """

    name: str
    rows: tuple[Map, ...]
    ignore: tuple[str, ...] = (r".*\.num_batches_tracked",)
    zeros: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    derived: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    head: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        """Whether a checkpoint name fills nothing."""
        return any(re.fullmatch(pattern, name) for pattern in (*self.ignore, *self.head, *heads.COUNTERS))

    def of_head(self, name: str) -> bool:
        """Whether a name is one of a head that our model does not have."""
        return any(re.fullmatch(pattern, name) for pattern in self.head)


class Assignment(NamedTuple):
    """A row with its numbers filled in: which tensors fill which parameters.

    Attributes:
      source_names: names of tensors in the checkpoint.
      param_paths: paths of parameters, without the variable collection.
      transform: between their layouts.
    """

    source_names: tuple[str, ...]
    param_paths: tuple[str, ...]
    transform: Transform

    def load(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns the parameters, one for each path, that tensors, one for each name, make up."""
        return as_tuple(self.transform.load(*arrays))

    def save(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns the tensors, one for each name, that parameters, one for each path, make up."""
        return as_tuple(self.transform.save(*arrays))

    def shapes(self, tensors: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, ...]:
        """Returns the shapes of the parameters that the tensors make up, without reading them; None if they can't."""
        empty = [np.broadcast_to(np.zeros((), bool), tensors[name].shape) for name in self.source_names]
        try:
            return tuple(array.shape for array in self.load(*empty))
        except (ValueError, IndexError):
            return (None,) * len(self.param_paths)


class Match(NamedTuple):
    """How a scheme matches the names in a checkpoint with the parameters of a model.

    Attributes:
      scheme: the scheme.
      assignments: which tensors fill which parameters; each name and each path is in one at most.
      missing: paths of parameters that nothing fills.
      unexpected: names of tensors that fill nothing.
      ignored: names of tensors that carry nothing, as the scheme says.
      others: names of tensors that are of the head of another task, where nothing fills the model's own.
    """

    scheme: Scheme
    assignments: tuple[Assignment, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def misfits(self) -> int:
        """The number of names and paths that are left over."""
        return len(self.missing) + len(self.unexpected)


def match(scheme: Scheme, names: Collection[str], paths: Collection[str]) -> Match:
    """Returns how a scheme matches the names in a checkpoint with the paths of a model's parameters."""
    names, paths = dict.fromkeys(names), dict.fromkeys(paths)
    ignored = [name for name in names if scheme.ignores(name)]
    assignment_of = finder(scheme.rows, "source")
    possible = unique(assignment for name in names if (assignment := assignment_of(name)))
    chosen, filled, used = [], set(), set(ignored)
    for assignment in possible:
        source_names, param_paths, _ = assignment
        whole = all(name in names for name in source_names) and all(path in paths for path in param_paths)
        if whole and filled.isdisjoint(param_paths) and used.isdisjoint(source_names):
            chosen.append(assignment)
            filled.update(param_paths)
            used.update(source_names)
    missing = tuple(path for path in paths if path not in filled)
    unused = tuple(name for name in names if name not in used)
    others = dict.fromkeys(heads.of_others(unused, scheme.rows)) if heads.lacks(missing, paths) else {}
    unexpected = tuple(name for name in unused if name not in others)
    return Match(scheme, tuple(chosen), missing, unexpected, tuple(ignored), tuple(others))


def headless(scheme: Scheme) -> Scheme:
    """Returns the scheme of the same library for a model that has no head: names of the head are ignored."""
    ends_in_head = {row: all(map(in_head, as_tuple(row.params))) for row in scheme.rows}
    names = [pattern for row, ends in ends_in_head.items() if ends for pattern in as_tuple(row.source)]
    bare = dataclasses.replace(
        scheme,
        rows=tuple(row for row, ends in ends_in_head.items() if not ends),
        head=tuple(_compile(pattern)[0].pattern for pattern in names),
    )
    return dataclasses.replace(bare, zeros={n: shape for n, shape in scheme.zeros.items() if not bare.of_head(n)})


def best(schemes: Iterable[Scheme], names: Collection[str], paths: Collection[str]) -> Match:
    """Returns the match, among those of several schemes, with the fewest names and paths left over."""
    matches = (match(scheme, names, paths) for scheme in schemes)
    return min(matches, key=lambda candidate: (candidate.misfits, len(candidate.others)))


def finder(rows: Iterable[Map], side: str) -> Callable[[str], Assignment | None]:
    """Returns a function of a name which returns the assignment of the first row that has it, or None if no row has.

    Args:
      rows: the table; rows without numbers to fill in are looked up, and the others tried in turn.
      side: "source", of which a name is a tensor's, or "params", of which it is the path of a parameter.
    """
    plain: dict[str, tuple[int, Map]] = {}
    patterned: list[tuple[int, Map, str]] = []
    for place, row in enumerate(rows):
        for pattern in as_tuple(getattr(row, side)):
            if "{" in pattern:
                patterned.append((place, row, pattern))
            else:
                plain.setdefault(pattern, (place, row))

    def assignment_of(name: str) -> Assignment | None:
        last, exact = plain.get(name, (math.inf, None))
        for place, row, pattern in patterned:
            numbers = _parse(pattern, name) if place < last else None
            if numbers is not None:
                return _assignment(row, numbers)
        return _assignment(exact, {}) if exact else None

    return assignment_of


def _assignment(row: Map, numbers: dict[str, int]) -> Assignment:
    names, paths = (as_tuple(patterns) for patterns in (row.source, row.params))
    return Assignment(_render(names, numbers), _render(paths, numbers), row.transform)


def unique(assignments: Iterable[Assignment]) -> list[Assignment]:
    """Returns the assignments without repetitions, in order."""
    return list({(a.source_names, a.param_paths): a for a in assignments}.values())


@cache
def _compile(pattern: str) -> tuple[re.Pattern, dict[str, int]]:
    offsets = {name: int(offset or 0) for name, offset in _NUMBER.findall(pattern)}
    text = re.escape(_NUMBER.sub(lambda number: f"\0{number[1]}\0", pattern))
    return re.compile(re.sub("\0(\\w+)\0", r"(?P<\1>0|[1-9][0-9]*)", text)), offsets


def _parse(pattern: str, text: str) -> dict[str, int] | None:
    regex, offsets = _compile(pattern)
    hit = regex.fullmatch(text)
    return {key: int(value) - offsets[key] for key, value in hit.groupdict().items()} if hit else None


def _render(patterns: tuple[str, ...], numbers: dict[str, int]) -> tuple[str, ...]:
    return tuple(_NUMBER.sub(lambda n: str(numbers[n[1]] + int(n[2] or 0)), pattern) for pattern in patterns)


def as_tuple(value: _T | tuple[_T, ...]) -> tuple[_T, ...]:
    """Returns a tuple as it is, and anything else as a tuple of it alone, such as one side of a row."""
    return value if isinstance(value, tuple) else (value,)
