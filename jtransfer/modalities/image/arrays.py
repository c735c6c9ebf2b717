"""`.npz` files of images."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from jtransfer.data import npz_files
from jtransfer.data.labels import asked
from jtransfer.data.source import Declined, Source
from jtransfer.modalities.image.layout import channels_last
from jtransfer.modalities.image.pixels import with_channels


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of an `.npz` file of images.

    The file has `images` and `labels`, or arrays for each split, as `x_train`, `y_train`, `x_test` and `y_test` or as
    `train_images` and `train_labels` (`npz_files.read`). Images are uint8 [N, H, W], [N, H, W, 1 | 3 | 4] or, if only
    that fits, [N, 1 | 3 | 4, H, W] (`layout.channels_last`). For embeddings, `images_pair`, `x_train_pair` and
    `x_test_pair` may hold the images that belong together with them, and labels are not needed.

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
    notes: dict[str, None] = {}
    for found in (arrays.inputs, arrays.partners):
        for split, images in found.items():
            found[split], note = channels_last(images)
            notes |= {note: None} if note else {}
            _check(found[split], f"{arrays.where}, split {split}")
    labels, channels = npz_files.encode(arrays, asked(spec)), spec.get("channels", 3)
    sources = {s: npz_files.source(arrays, labels, s, _reader(arrays, s, channels)) for s in arrays.inputs}
    return {s: dataclasses.replace(source, notes=(*notes, *source.notes)) for s, source in sources.items()}


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
