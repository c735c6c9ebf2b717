"""Tells which surgery makes a pretrained array fit a parameter of another shape."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jtransfer.models import paths
from jtransfer.weights import surgery

Shape = tuple[int, ...]


class Change(NamedTuple):
    """What makes a pretrained array fit.

    Attributes:
      what: What is done, in words.
      apply: The function of arrays that does it.
    """

    what: str
    apply: Callable[[np.ndarray], np.ndarray]


def change(
    path: str,
    old: Shape,
    new: Shape,
    model: Any,
    source_image_size: Shape | None = None,
    antialias: bool = True,
) -> Change | None:
    """Returns the change that makes a pretrained array fit a parameter of another shape.

    Which one it is is told from the names in the parameter's path, see `models.paths`; and the last axis of a head that
    is as wide as the vocabulary is one of tokens, too.

    Args:
      path: the path of the parameter.
      old: the shape of the array.
      new: the shape of the parameter.
      model: the model, which says its stages, the sizes of its images and patches, and its vocabulary.
      source_image_size: height and width of the source's images, if they are known: its positions are those of a grid
        of this aspect, and otherwise of a square one.
      antialias: of `surgery.resize_positions`, as the library has it that the source is of.

    Returns:
      The change; None if there is none, or none is needed.
    """
    if len(old) != len(new) or (old == new and source_image_size is None):
        return None
    match path.rsplit("/", 1)[-1]:
        case paths.POSITIONS:
            return _positions(old, new, model, source_image_size, antialias)
        case _ if old == new:
            return None
        case "kernel" if len(new) == 4 and old[3] == new[3]:
            return _first_kernel(path, old, new, model)
        case paths.RELATIVE_BIAS if old[1] == new[1] and _odd_square(old[0]) and _odd_square(new[0]):
            windows = [math.isqrt(shape[0]) // 2 + 1 for shape in (old, new)]
            return Change(_moved("windows of", *windows), partial(surgery.resize_bias, window=windows[1]))
        case paths.EMBEDDING if old[1] == new[1] and old[0] < new[0]:
            return _vocabulary(old[0], new[0], axis=0)
    if paths.in_head(path) and old[:-1] == new[:-1] and old[-1] < new[-1] == getattr(model, "vocab_size", None):
        return _vocabulary(old[-1], new[-1], axis=-1)
    return None


def keep(fresh: np.ndarray, old_names: Sequence[str], new_names: Sequence[str]) -> Change:
    """The change of a head's kernel or bias that keeps the classes that the model shares with the source.

    Args:
      fresh: The newly drawn kernel or bias, from which all other classes are taken.
      old_names: The names of the source's classes, in order.
      new_names: The names of the model's classes, in order.
    """
    shared = len(set(old_names) & set(new_names))
    kept = partial(surgery.keep_classes, fresh=fresh, old_names=old_names, new_names=new_names)
    return Change(f"{shared} of {len(new_names)} classes kept by name", kept)


def _positions(old: Shape, new: Shape, model: Any, source_image_size: Shape | None, antialias: bool) -> Change | None:
    """The new grid is the model's; the old one comes after as many tokens."""
    if len(old) != 3 or old[2] != new[2] or not hasattr(model, "patch"):
        return None
    height, width = (side // model.patch for side in model.sides)
    prefix = new[1] - height * width
    grid = _grid(old[1] - prefix, source_image_size) if 0 <= prefix < old[1] else None
    if grid is None or grid == (height, width):
        return None
    resize = partial(surgery.resize_positions, old=grid, new=(height, width), prefix=prefix, antialias=antialias)
    return Change(_moved("a grid of", f"{grid[0]}×{grid[1]}", f"{height}×{width}"), resize)


def _grid(patches: int, image_size: Shape | None) -> surgery.Grid | None:
    """Rows and columns of so many patches: of images of this size, or of square ones."""
    height, width = image_size or (0, 0)
    grids = ((height // patch, width // patch) for patch in range(1, min(height, width) + 1))
    side = math.isqrt(patches)
    return next((grid for grid in grids if math.prod(grid) == patches), (side, side) if side**2 == patches else None)


def _first_kernel(path: str, old: Shape, new: Shape, model: Any) -> Change | None:
    """Patches of another size, or input of other channels, or both."""
    if paths.stage_of(path) != getattr(model, "stages", ("",))[0]:
        return None
    done, steps = [], []
    if old[:2] != new[:2]:
        if paths.PATCHES not in path.split("/"):
            return None
        done.append(_moved("patches of", *(f"{shape[0]}×{shape[1]}" for shape in (old, new))))
        steps.append(partial(surgery.resize_patches, new=(new[0], new[1])))
    if old[2] != new[2]:
        done.append(_moved("channels:", old[2], new[2]))
        steps.append(partial(surgery.adapt_channels, channels=new[2]))

    def apply(kernel: np.ndarray) -> np.ndarray:
        for step in steps:
            kernel = step(kernel)
        return kernel

    return Change(", ".join(done), apply) if done else None


def _vocabulary(old: int, new: int, axis: int) -> Change:
    return Change(_moved("a vocabulary of", old, new), partial(surgery.extend_vocabulary, size=new, axis=axis))


def _moved(what: str, old: Any, new: Any) -> str:
    return f"{what} {old} → {new}"


def _odd_square(n: int) -> bool:
    return math.isqrt(n) ** 2 == n and n % 2 == 1
