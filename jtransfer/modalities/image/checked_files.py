"""Files of images, checked before training: which are broken, and whether the range of their values is known."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.source import spread
from jtransfer.modalities.image import depth, file_check
from jtransfer.modalities.image.opening import MOST_PIXELS
from jtransfer.modalities.image.pixels import values

_LISTED = 10  # broken files


class Files(NamedTuple):
    """What is known of files.

    Attributes:
      problems: Path → why the image can't be read, of each that can't.
      digests: Path → a digest, the same for files of the same content.
      notes: What is told of them.
    """

    problems: dict[str, str]
    digests: dict[str, bytes]
    notes: tuple[str, ...]


def check(paths: Sequence[str], spec: Mapping, where: str) -> Files:
    """Looks at the beginning and the end of files, and at some of those that may have more than 8 bits.

    Args:
      paths: The paths of the files.
      spec: `broken` is "stop", or "skip" if images that can't be read are to be left out; `max_pixels` is the most
        pixels that an image may have; `range` is for images of more than 8 bits (`depth`).
      where: The data set, for errors.

    Raises:
      InputError: An image can't be read, and `broken` is "stop"; or the range of the values is not known.
    """
    limits, broken = spec.get("range", ()), spec.get("broken", "stop")
    most = spec.get("max_pixels", MOST_PIXELS)
    depth.check_limits(limits)
    if broken not in ("stop", "skip"):
        raise unknown("data.broken", broken, ("stop", "skip"))
    found = dict(zip(paths, file_check.check(paths, most), strict=True))
    problems = {path: one.problem for path, one in found.items() if one.problem}
    if problems and broken == "stop":
        raise InputError(
            f"{where}: cannot read the image {_listed(problems)}; repair or remove what is broken, or leave it out: "
            "data.broken='skip'"
        )
    deep = [path for path, one in found.items() if one.deep and not one.problem]
    told = depth.check((_values(deep[i], limits, most) for i in spread(len(deep), depth.LOOKED_AT)), limits, where)
    skipped = f"{where}: leaves out {len(problems)} images that can't be read: {_listed(problems)}" if problems else ""
    notes = tuple(line for line in (skipped, told) if line)
    return Files(problems, {path: one.digest for path, one in found.items()}, notes)


def _values(path: str, limits: Sequence[float], most: int) -> np.ndarray:
    """The values of an image; of one that states its range, none that could be out of it."""
    array, stated = values(path, limits, most)
    return array if tuple(stated) == tuple(limits) else depth.to_uint8(array, stated)


def _listed(problems: Mapping[str, str]) -> str:
    listed = [f"{path}: {problem}" for path, problem in list(problems.items())[:_LISTED]]
    total = [f"{len(problems)} in all"] if len(problems) > _LISTED else []
    return "; ".join([*listed, *total])
