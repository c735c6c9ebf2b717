"""`.npz` files of images."""

from collections.abc import Callable, Mapping

import numpy as np

from jtransfer.data import npz_files
from jtransfer.data.source import Declined, Source
from jtransfer.modalities.image.pixels import with_channels


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of an `.npz` file of images.

    The file has `images` and `labels`, or `x_train`, `y_train`, `x_test` and `y_test`. Images are uint8 [N, H, W] or
    [N, H, W, 1 | 3 | 4]. For embeddings, `images_pair`, `x_train_pair` and `x_test_pair` may hold the images that
    belong together with them, and labels are not needed.

    Args:
      location: The path of the file.
      spec: As for `data.open`.

    Raises:
      InputError: As for `npz_files.read` and `npz_files.encode`.
      Declined: The arrays are no images.
    """
    arrays = npz_files.read(location, [("images", "labels")])
    if not arrays.inputs:
        raise Declined(
            f"{arrays.where}: needs the arrays images and labels, features and labels, or x_train, y_train, x_test and "
            f"y_test; it has {', '.join(arrays.held) or 'none'}"
        )
    for found in (arrays.inputs, arrays.partners):
        for split, images in found.items():
            _check(images, f"{arrays.where}, split {split}")
    labels, channels = npz_files.encode(arrays), spec.get("channels", 3)
    return {split: npz_files.source(arrays, labels, split, _reader(arrays, split, channels)) for split in arrays.inputs}


def _reader(arrays: npz_files.Arrays, split: str, channels: int) -> Callable[[int], dict[str, np.ndarray]]:
    images = {"image": arrays.inputs[split]}
    if split in arrays.partners:
        images["image_pair"] = arrays.partners[split]
    return lambda i: {name: with_channels(every[i], channels) for name, every in images.items()}


def _check(images: np.ndarray, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,), (4,)):
        raise Declined(
            f"{where}: images must be uint8 [N, H, W] or [N, H, W, 1 | 3 | 4], not {images.dtype} {list(images.shape)}"
        )
