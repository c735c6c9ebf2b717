"""The pixels of images as vectors, which a trivial baseline looks at."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from jtransfer.modalities.returned import Plain

_SIDE = 32  # pixels, at most


def pixels(train: Sequence[np.ndarray]) -> Plain:
    """Returns the pixels, in [0, 1], of images that are at most 32 × 32 large; of grey ones a single channel.

    Args:
      train: uint8 [H, W, C]. All images are resized to the size of the first, or to 32 on a side that is longer.
    """
    height, width = (min(side, _SIDE) for side in train[0].shape[:2])
    grey = all(bool((image == image[..., :1]).all()) for image in train)
    channels = " grey" if grey else ""
    return Plain(f"{height} × {width}{channels} pixels", partial(_flat, size=(width, height), grey=grey))


def _flat(examples: Sequence[Mapping[str, Any]], size: tuple[int, int], grey: bool) -> np.ndarray:
    rows = []
    for example in examples:
        image = example["image"][..., :1] if grey else example["image"]
        small = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        rows.append(small.ravel().astype(np.float32) / 255)
    return np.stack(rows)
