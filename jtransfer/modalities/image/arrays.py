"""`.npz` files of images."""

from collections.abc import Mapping

import numpy as np

from jtransfer.data import npz_files
from jtransfer.data.source import Declined, Source
from jtransfer.modalities.image.pixels import with_channels


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """The splits of a file with `images` and `labels`, or `x_train`, `y_train`, `x_test` and `y_test`
    (`data.npz_files`).

    Images are uint8 [N, H, W] or [N, H, W, 1 | 3 | 4].

    Raises:
      InputError: as for `npz_files`, or the arrays are no images.
    """
    arrays = npz_files.read(location, [("images", "labels")])
    if not arrays.inputs:
        raise Declined(
            f"{arrays.where}: needs the arrays images and labels, features and labels, or x_train, y_train, x_test and "
            f"y_test; it has {', '.join(arrays.held) or 'none'}"
        )
    for split, images in arrays.inputs.items():
        _check(images, f"{arrays.where}, split {split}")
    labels, channels = npz_files.encode(arrays), spec.get("channels", 3)
    return {
        split: npz_files.source(images, labels, split, lambda image: {"image": with_channels(image, channels)})
        for split, images in arrays.inputs.items()
    }


def _check(images: np.ndarray, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,), (4,)):
        raise Declined(
            f"{where}: images must be uint8 [N, H, W] or [N, H, W, 1 | 3 | 4], not {images.dtype} {list(images.shape)}"
        )
