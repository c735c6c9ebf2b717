"""Several views of an image: pairs of them, and those that a prediction is averaged over."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.given import Transform
from jtransfer.modalities.image.resize_ops import cut, pair
from jtransfer.modalities.image.transforms import Pipeline

Change = Callable[[np.ndarray], np.ndarray]
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
FLIPS: Mapping[str, tuple[Change, ...]] = {
    "flip_lr": (lambda image: image, lambda image: image[:, ::-1]),
    "flip_ud": (lambda image: image, lambda image: image[::-1]),
    "rot90": tuple(lambda image, k=k: np.rot90(image, k) for k in range(4)),
}
WORDS = (*FLIPS, "five_crop", "random(8)")
_RANDOM = re.compile(r"random\((\d+)\)")


class View(Protocol):
    """What makes a view of an image, such as a `Pipeline`."""

    def host(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Returns the view, uint8 [H', W', C], of an image uint8 [H, W, C]."""
        ...


@dataclasses.dataclass(frozen=True)
class Changed:
    """A view that is changed by functions of an image, one after the other."""

    pipeline: Pipeline
    changes: Sequence[Change] = ()
    draw: int | None = None

    def host(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Returns the view; of a random one, the draw of its number is the same for each image each time."""
        image = self.pipeline.host(image, rng if self.draw is None else np.random.default_rng(self.draw))
        for change in self.changes:
            image = change(image)
        return np.ascontiguousarray(image)

    def __call__(self, example: Mapping[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        """Returns the row of an example: `{"inputs": the view, "label": …}`."""
        return {"inputs": self.host(example["image"], rng), "label": example.get("label", 0)}


def of_words(how: str, usual: Pipeline, training: Callable[[], Pipeline]) -> list[Changed]:
    """Returns the views that a text names, words joined by "|", of which all combinations are taken.

    The words are "flip_lr" and "flip_ud", an image and its mirror image; "rot90", its four rotations; "five_crop", the
    corners and the centre of what the usual transform cuts the centre out of; and "random(8)", so many draws of the
    random transform of training, which takes the place of the usual one.

    Args:
      how: The text.
      usual: The transform for evaluation.
      training: A function that gives the transform of training.

    Raises:
      InputError: A word is unknown, or the transform has no such views.
    """
    words = [word.strip() for word in how.split("|")]
    bases = [Changed(usual)]
    for word in (word for word in words if word not in FLIPS):
        if found := _RANDOM.fullmatch(word):
            bases = _draws(int(found[1]), training())
        elif word == "five_crop":
            bases = [Changed(pipeline) for pipeline in _crops(usual)]
        else:
            raise unknown("view of images", word, WORDS)
    if len(words) - sum(word in FLIPS for word in words) > 1:
        raise InputError(f"tta={how!r}: take either five_crop or random(n)")
    combined = list(itertools.product(*(FLIPS[word] for word in words if word in FLIPS)))
    return [dataclasses.replace(base, changes=changes) for base in bases for changes in combined]


def _draws(number: int, training: Pipeline) -> list[Changed]:
    if number < 1:
        raise InputError("random(0): give the number of views, 1 or more")
    if not training.random:
        raise InputError(f"random({number}): the transform of training, {training.host_text!r}, draws nothing")
    return [Changed(training, draw=k) for k in range(number)]


def _crops(usual: Pipeline) -> list[Pipeline]:
    places = [i for i, call in enumerate(usual.calls) if call.name == "center_crop"]
    if not places:
        raise InputError(
            f"five_crop takes corners where the transform cuts out the centre, and {usual.host_text!r} has no "
            "center_crop; take flip_lr, or a transform such as resize_short(256)|center_crop(224)"
        )
    at = places[-1]
    height, width = pair(usual.calls[at].arguments["size"])

    def corner(down: int, right: int) -> Pipeline:
        central = usual.calls[at].fn

        def crop(image: np.ndarray, rng: Any) -> np.ndarray:
            rows, columns = image.shape[0] - height, image.shape[1] - width
            if min(rows, columns) < 0:
                return central(image, rng)
            return cut(image, down * rows, right * columns, height, width)

        call = dataclasses.replace(usual.calls[at], fn=crop)
        return dataclasses.replace(usual, calls=(*usual.calls[:at], call, *usual.calls[at + 1 :]))

    return [usual, *(corner(*place) for place in CORNERS)]


def two_views(first: View, second: View) -> Transform:
    """Returns a transform to pairs of images, `inputs` uint8 [2, H, W, C].

    The second image is the example's `image_pair`, transformed as the first. Where it has none, the pair is two views
    of the one image, of which the second is random.

    Args:
      first: The transform of the images.
      second: The random transform of second views.

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709, 2020.
    """

    def transform(example: Mapping[str, Any], rng: np.random.Generator | None = None) -> dict[str, Any]:
        one = first.host(example["image"], rng)
        pair = example.get("image_pair")
        two = second.host(example["image"], rng) if pair is None else first.host(pair, rng)
        if one.shape != two.shape:
            raise InputError(f"two views of an image have the shapes {list(one.shape)} and {list(two.shape)}")
        return {"inputs": np.stack([one, two]), "label": example.get("label", 0)}

    return transform
