"""`.npz` files of images."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import npz_files
from jtransfer.data.labels import asked
from jtransfer.data.source import Declined, Source
from jtransfer.modalities.image import depth
from jtransfer.modalities.image.axes import channels_last
from jtransfer.modalities.image.pixels import with_channels

_SHAPES = " [N, H, W] or [N, H, W, 1 | 3 | 4]"


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of an `.npz` file of images.

    The file has `images` and `labels`, or arrays for each split, as `x_train`, `y_train`, `x_test` and `y_test` or as
    `train_images` and `train_labels` (`npz_files.read`). Images are [N, H, W], [N, H, W, C] or, if only that fits,
    [N, C, H, W] (`axes.channels_last`), uint8, or of another dtype whose range is known (`depth`). For
    embeddings, `images_pair`, `x_train_pair` and `x_test_pair` may hold the images that belong together with them, and
    labels are not needed.

    Args:
      location: The path of the file.
      spec: As for `data.open`; `range` says what values images that are not uint8 go from and to.

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
    limits = spec.get("range", ())
    depth.check_limits(limits)
    notes = []
    labels, channels = npz_files.encode(arrays, asked(spec)), spec.get("channels", 3)
    for found in (arrays.inputs, arrays.partners):
        for split, images in found.items():
            found[split], note = channels_last(images, channels)
            notes += [note, _check(found[split], limits, channels, f"{arrays.where}, split {split}")]
    told = tuple(dict.fromkeys(filter(None, notes)))

    def source(split: str) -> Source:
        made = npz_files.source(arrays, labels, split, _reader(arrays, split, channels, limits))
        files = (str(Path(location).expanduser()),) if split in arrays.partners else ()
        return dataclasses.replace(made, files=files, notes=(*told, *made.notes))

    return {split: source(split) for split in arrays.inputs}


def _reader(
    arrays: npz_files.Arrays, split: str, channels: int, limits: Sequence[float]
) -> Callable[[int], dict[str, np.ndarray]]:
    images = {"image": arrays.inputs[split]}
    if split in arrays.partners:
        images["image_pair"] = arrays.partners[split]
    return lambda i: {name: with_channels(depth.to_uint8(e[i], limits), channels) for name, e in images.items()}


def _check(images: np.ndarray, limits: Sequence[float], channels: int, where: str) -> str:
    """Checks the shape and the range of images; returns a line to print, or ""."""
    known = ((), (1,), (3,), (4,)) if channels in (1, 3) else ((channels,),)
    if images.ndim == 4 and images.shape[3:] not in known:
        raise InputError(
            f"{where}: images {list(images.shape)} have {images.shape[3]} channels, and data.channels={channels} are "
            f"asked for; set data.channels={images.shape[3]}"
        )
    if images.dtype.kind not in "buif" or images.ndim not in (3, 4):
        raise Declined(
            f"{where}: images must be uint8{_SHAPES}, or other numbers whose range is given in data.range, not "
            f"{images.dtype} {list(images.shape)}"
        )
    if images.dtype == np.uint8 and len(limits):
        raise InputError(f"{where}: data.range={tuple(limits)} is for images that are not uint8; leave it out")
    return depth.check([images], limits, where, _SHAPES)
