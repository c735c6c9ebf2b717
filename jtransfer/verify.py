"""Proof that a converted checkpoint computes what its reference computes.

The reference is `activations.npz` beside the source, with `images` float32 [B, H, W, C] and any of `logits`, `features`
(what the head takes) and stage names (what the stage returns), channels last; or else torch and the library that the
names are of, run live.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import reference, weights
from jtransfer.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.report import Report
from jtransfer.weights.restore import Described, fetch_beside

FILE = "activations.npz"
TOLERANCE = 1e-4  # of features and logits, absolute; relative to the largest number where that is over 1
_ENDS = ("features", "logits")


class Difference(NamedTuple):
    """Of one stage: the largest absolute difference, and that over the reference's largest number."""

    stage: str
    absolute: float
    relative: float

    @property
    def within(self) -> bool:
        """Is it small enough? Not where either has a NaN."""
        return bool(self.absolute <= TOLERANCE or self.relative <= TOLERANCE)


def check(source: str | os.PathLike, dest: str | os.PathLike, described: Described, report: Report) -> bool:
    """Compares the checkpoint `dest` with the reference of `source` and prints a table; True if within tolerance.

    Args:
      described, report: what the conversion returned.

    Raises:
      InputError: there is nothing to compare with, or it does not fit.
    """
    model, variables, _ = weights.restore(dest)
    stored = fetch_beside(source, FILE)
    expected, origin = (_stored(stored), FILE) if stored else reference.run(source, described, report, _images(model))
    images = expected.pop("images")
    differences = list(compare(activations(model, variables, images), expected))
    if not differences:
        raise InputError(f"{origin} has none of {', '.join((*_ENDS, *model.stages))}")
    print(f"compared with {origin} on images {list(images.shape)}:")
    width = max(len(found.stage) for found in differences)
    for found in differences:
        print(f"  {found.stage:<{width}}  absolute {found.absolute:.1e}  relative {found.relative:.1e}")
    ends = [found for found in differences if found.stage in _ENDS] or differences
    good = all(found.within for found in ends)
    print(f"{'within' if good else 'NOT within'} {TOLERANCE:.0e}")
    return good


def activations(model: Any, variables: Mapping[str, Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """What each stage returns for `images` [B, H, W, C], by its name, with `features` and `logits`."""

    @jax.jit
    def run(variables, x):
        found, stages = {}, model.stages
        for name, following in zip(stages, (*stages[1:], None), strict=True):
            if name == "head":
                found["features"] = x
            x = found[name] = model.apply(variables, x, start=name, stop=following)
        return found | {"logits": x}

    arrays = jax.device_get(run(variables, images))
    return {name: arrays[name] for name in (*model.stages, *_ENDS) if isinstance(arrays[name], np.ndarray)}


def compare(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> Iterator[Difference]:
    """The differences of all stages that both have, in our order; axes of length 1 aside, shapes must agree."""
    for stage in sorted(ours.keys() & theirs.keys(), key=list(ours).index):
        a, b = np.squeeze(ours[stage]), np.squeeze(theirs[stage])
        if a.shape != b.shape:
            if stage in _ENDS:
                raise InputError(f"{stage} has the shape {list(b.shape)} in the reference, {list(a.shape)} here")
            continue
        largest = np.abs(a.astype(np.float64) - b).max()
        yield Difference(stage, float(largest), float(largest / max(np.abs(b).max(), 1e-30)))


def _images(model: Any) -> np.ndarray:
    shape = (2, model.image_size, model.image_size, model.channels)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _stored(path: os.PathLike) -> dict[str, np.ndarray]:
    tensors = {name: np.asarray(tensor.read()) for name, tensor in formats.open(path).items()}
    if "images" not in tensors:
        raise InputError(f"{path} has no images")
    return tensors
