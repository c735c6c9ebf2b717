"""Weights maps: tables of invertible rows between a checkpoint's names and our parameter paths.

    Map("layer{i}.{j}.conv{k}.weight", "stage{i}/block{j}/conv{k}/kernel", conv2d)

Read left to right a row imports, right to left it exports. `{i}` is a whole number; `{i+1}` is that number plus one.
The first row that fits a name wins, on either side. A side may be a tuple of patterns with the same numbers, where
several tensors on one side make up one or several on the other; the transform then takes and returns that many arrays.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

_NUMBER = re.compile(r"\{(\w+)([+-]\d+)?\}")


class Transform(NamedTuple):
    """A pair of inverse functions over arrays: from the checkpoint's layout to ours, and back.

    `axis` is for a `load` that can't return a view: our axis into which the checkpoint's first axis goes row by row, so
    that a few rows can be loaded without the others.
    """

    load: Callable[..., np.ndarray]
    save: Callable[..., np.ndarray]
    axis: int | None = None


identity = Transform(lambda x: x, lambda x: x)
linear = Transform(lambda x: x.T, lambda x: x.T)  # [out, in] ↔ [in, out]
conv2d = Transform(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))  # OIHW ↔ HWIO, depthwise alike

pointwise = Transform(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])  # 1×1 convolution ↔ dense layer


def flat_linear(height: int, width: int) -> Transform:
    """A dense layer over a flattened map: [out, c·h·w] ↔ [h·w·c, out]."""

    def load(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, height, width).transpose(2, 3, 1, 0).reshape(-1, len(x))

    def save(x: np.ndarray) -> np.ndarray:
        return x.reshape(height, width, -1, x.shape[1]).transpose(3, 2, 0, 1).reshape(x.shape[1], -1)

    return Transform(load, save, axis=-1)


def flat_conv(height: int, width: int) -> Transform:
    """A convolution over the whole map as a dense layer: [out, c, h, w] ↔ [h·w·c, out]."""

    def load(x: np.ndarray) -> np.ndarray:
        return x.transpose(2, 3, 1, 0).reshape(-1, len(x))

    def save(x: np.ndarray) -> np.ndarray:
        return x.reshape(height, width, -1, x.shape[1]).transpose(3, 2, 0, 1)

    return Transform(load, save, axis=-1)


@dataclasses.dataclass(frozen=True)
class Map:
    """One row: pattern(s) of checkpoint names, pattern(s) of our paths (without the collection), and the transform."""

    foreign: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    transform: Transform = identity


def conv(foreign: str, ours: str) -> list[Map]:
    """The rows of a convolution."""
    return [Map(f"{foreign}.weight", f"{ours}/kernel", conv2d), Map(f"{foreign}.bias", f"{ours}/bias")]


def dense(foreign: str, ours: str) -> list[Map]:
    """The rows of a dense layer."""
    return [Map(f"{foreign}.weight", f"{ours}/kernel", linear), Map(f"{foreign}.bias", f"{ours}/bias")]


def batch_norm(foreign: str, ours: str) -> list[Map]:
    """The rows of a batch norm, statistics included."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return [Map(f"{foreign}.{theirs}", f"{ours}/{name}") for theirs, name in names.items()]


def layer_norm(foreign: str, ours: str) -> list[Map]:
    """The rows of a layer norm."""
    return [Map(f"{foreign}.weight", f"{ours}/scale"), Map(f"{foreign}.bias", f"{ours}/bias")]


@dataclasses.dataclass(frozen=True)
class Scheme:
    """All names of one library for one model.

    Attributes:
      name: such as "torchvision".
      rows: the table.
      ignore: regular expressions of checkpoint names that carry nothing (derived or unused), each a whole name.
      zeros: name → shape of those among them that the library's model asks for all the same.
      derived: name → values of those that it asks for and that are not zeros.
    """

    name: str
    rows: tuple[Map, ...]
    ignore: tuple[str, ...] = (r".*\.num_batches_tracked",)
    zeros: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    derived: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Link(NamedTuple):
    """A row with its numbers filled in: these checkpoint names ↔ these paths."""

    foreign: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform

    def load(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """From the checkpoint's layout to ours, one array a path."""
        return _as_tuple(self.transform.load(*arrays))

    def save(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """From our layout to the checkpoint's, one array a name."""
        return _as_tuple(self.transform.save(*arrays))

    def shapes(self, tensors: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, ...]:
        """The shapes that its tensors would give in our layout, without reading them; None where they can't."""
        empty = [np.broadcast_to(np.zeros((), bool), tensors[name].shape) for name in self.foreign]
        try:
            return tuple(array.shape for array in self.load(*empty))
        except (ValueError, IndexError):
            return (None,) * len(self.ours)


class Fit(NamedTuple):
    """How a scheme fits a set of names and a set of paths.

    `missing` are paths that nothing fills, `unexpected` are names that fill nothing, `ignored` are names that carry
    nothing, as the scheme says.
    """

    scheme: Scheme
    links: tuple[Link, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected)


def fit(scheme: Scheme, names: Collection[str], paths: Collection[str]) -> Fit:
    """Links the names of a checkpoint with our paths, each used once."""
    names, paths = dict.fromkeys(names), dict.fromkeys(paths)
    ignored = [name for name in names if any(re.fullmatch(pattern, name) for pattern in scheme.ignore)]
    link_of = finder(scheme.rows, "foreign")
    found = unique(link for name in names if (link := link_of(name)))
    links, filled, used = [], set(), set(ignored)
    for link in found:
        whole = all(name in names for name in link.foreign) and all(path in paths for path in link.ours)
        if whole and filled.isdisjoint(link.ours) and used.isdisjoint(link.foreign):
            links.append(link)
            filled.update(link.ours)
            used.update(link.foreign)
    missing = tuple(path for path in paths if path not in filled)
    unexpected = tuple(name for name in names if name not in used)
    return Fit(scheme, tuple(links), missing, unexpected, tuple(ignored))


def best(schemes: Iterable[Scheme], names: Collection[str], paths: Collection[str]) -> Fit:
    """The fit with the fewest names and paths left over."""
    return min((fit(scheme, names, paths) for scheme in schemes), key=lambda found: found.misfits)


def find(rows: Iterable[Map], name: str, side: str) -> Link | None:
    """The link of the first row that has `name` on `side` ("foreign" or "ours")."""
    return finder(rows, side)(name)


def finder(rows: Iterable[Map], side: str) -> Callable[[str], Link | None]:
    """`find` for many names: rows without numbers to fill in are looked up, not tried one after the other."""
    plain: dict[str, tuple[int, Map]] = {}
    patterned: list[tuple[int, Map, str]] = []
    for place, row in enumerate(rows):
        for pattern in _as_tuple(getattr(row, side)):
            if "{" in pattern:
                patterned.append((place, row, pattern))
            else:
                plain.setdefault(pattern, (place, row))

    def link_of(name: str) -> Link | None:
        last, found = plain.get(name, (math.inf, None))
        for place, row, pattern in patterned:
            numbers = _parse(pattern, name) if place < last else None
            if numbers is not None:
                return _link(row, numbers)
        return _link(found, {}) if found else None

    return link_of


def _link(row: Map, numbers: dict[str, int]) -> Link:
    foreign, ours = (_as_tuple(patterns) for patterns in (row.foreign, row.ours))
    return Link(_render(foreign, numbers), _render(ours, numbers), row.transform)


def unique(links: Iterable[Link]) -> list[Link]:
    """The links without repetitions, in order."""
    return list({(link.foreign, link.ours): link for link in links}.values())


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


def _as_tuple(value):
    return value if isinstance(value, tuple) else (value,)
