"""Whether models can be fused: they are of one architecture, and their heads of the same classes."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.fusing.source import Leaf, Source
from jtransfer.fusion.trees import check_same
from jtransfer.models import forward

KEEP, DROP = "keep", "drop"
_HOW = {"parent", "name", "dtype", "scan", "remat", "num_classes", "pixels", "dropout", "drop_path"}


def agreed(sources: Sequence[Source], heads: str = KEEP) -> tuple[list[Source], list[str]]:
    """Returns the models with the same paths, shapes and classes in the same order, and what to say of them.

    Args:
      sources: The models, the first of which the others are compared with.
      heads: "keep", or "drop", which leaves out the last stage.

    Raises:
      InputError: They are no models of one architecture, or their heads are of other classes.
    """
    if heads not in (KEEP, DROP):
        raise InputError(f"heads={heads!r}: give {KEEP!r} or {DROP!r}")
    names = [one.name for one in sources]
    trunks = [_without_head(one.leaves) for one in sources]
    check_same([_shapes(one) for one in trunks], names)
    if heads == DROP:
        made = [one._replace(leaves=trunk) for one, trunk in zip(sources, trunks, strict=True)]
        return made, ["the fused model has no head", *_fields(sources)]
    sources, lines = _with_classes(sources)
    first, *others = (_shapes(one.leaves) for one in sources)
    if odd := [name for name, other in zip(names[1:], others, strict=True) if other != first]:
        raise InputError(f"{names[0]} and {odd[0]} have heads of other shapes; heads=drop leaves them out")
    return sources, [*lines, *_fields(sources)]


def _shapes(leaves: Mapping[str, Leaf]) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in leaves.items()}


def _is_head(path: str) -> bool:
    return path.split("/")[1:2] == [forward.OUTPUT]


def _without_head(leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
    return {path: leaf for path, leaf in leaves.items() if not _is_head(path)}


def _with_classes(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    first, *others = sources
    names, found, lines = _names(first), [first], []
    for other in others:
        own = _names(other)
        if not names or not own or names == own:
            if bool(names) != bool(own) and forward.OUTPUT in forward.stages(first.spec.model):
                lines.append(
                    f"? the classes of {(first if own else other).name} have no names; they are taken to be the same"
                )
            found.append(other)
        elif set(names) == set(own):
            lines.append(f"the classes of {other.name} are put in the order of those of {first.name}")
            order = np.array([own.index(name) for name in names])
            found.append(
                other._replace(leaves={path: _ordered(path, leaf, order) for path, leaf in other.leaves.items()})
            )
        else:
            ours, theirs = ([name for name in a if name not in b] for a, b in ((names, own), (own, names)))
            raise InputError(
                f"the heads of {first.name} and {other.name} are of other classes ({some(ours, 3) or 'none'}; "
                f"{some(theirs, 3) or 'none'}); heads=drop leaves them out"
            )
    return found, lines


def _names(source: Source) -> tuple[str, ...]:
    """The names of the classes; none where they are but numbers."""
    names = source.spec.class_names
    return () if all(name.isdigit() for name in names) else names


def _ordered(path: str, leaf: Leaf, order: np.ndarray) -> Leaf:
    if not _is_head(path) or not leaf.shape or leaf.shape[-1] != len(order):
        return leaf
    return leaf._replace(read=lambda: leaf.read()[..., order])


def _fields(sources: Sequence[Source]) -> list[str]:
    """Lines on fields in which models differ that have the same variables."""
    first, *others = sources
    return [line for other in others if (line := _differences(first, other))]


def _differences(first: Source, other: Source) -> str:
    ours, theirs = first.spec.model, other.spec.model
    if type(ours) is not type(theirs):
        return f"? {first.name} is a {type(ours).__name__} and {other.name} a {type(theirs).__name__}; it is the former"
    names = [field.name for field in dataclasses.fields(ours) if field.name not in _HOW]
    odd = [name for name in names if getattr(ours, name) != getattr(theirs, name)]
    return (
        f"? {first.name} and {other.name} differ in {some(odd)}; the fused model has those of the former" if odd else ""
    )
