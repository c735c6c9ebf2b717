"""`.npz` files of image arrays: `images`, `labels`, or `x_train`, `y_train`, `x_test`, `y_test` as in Keras."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source
from jtransfer.modalities.image.pixels import with_channels

_KEYS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test"), "all": ("images", "labels")}
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def npz_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """The splits of an `.npz` file; pickled objects in it are refused.

    Images are uint8 [N, H, W] or [N, H, W, 1 | 3 | 4]. Labels are integers [N] or [N, 1] from 0, or strings, which
    become classes in sorted order. An array `class_names` names the classes; without it their names are "0", "1", ….

    Raises:
      InputError: no such file, not an `.npz` file, arrays missing, of another type, or of different lengths.
    """
    path = Path(location).expanduser()
    if not path.is_file():
        raise InputError(f"npz:{location}: there is no such file")
    arrays, names = _read(path)
    images = {split: arrays[x] for split, (x, y) in _KEYS.items() if x in arrays and y in arrays}
    if not images:
        raise InputError(
            f"npz:{location}: needs the arrays images and labels, or x_train, y_train, x_test and y_test; "
            f"it has {', '.join(names) or 'none'}"
        )
    labels = {split: arrays[_KEYS[split][1]].reshape(-1) for split in images}
    for split in images:
        _check(images[split], labels[split], f"npz:{location}, split {split}")
    class_names, labels = _classes(labels, arrays.get("class_names"), f"npz:{location}")
    channels = spec.get("channels", 3)
    return {split: _source(images[split], labels[split], class_names, channels) for split in images}


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    wanted = {"class_names", *(key for pair in _KEYS.values() for key in pair)}
    if not zipfile.is_zipfile(path):
        raise InputError(f"npz:{path}: cannot be read as an .npz file: it is no zip archive, or not whole")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            return {key: loaded[key] for key in loaded.files if key in wanted}, sorted(loaded.files)
    except _UNREADABLE as error:
        raise InputError(f"npz:{path}: cannot be read as an .npz file without pickled objects: {error}") from None


def _check(images: np.ndarray, labels: np.ndarray, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,), (4,)):
        raise InputError(
            f"{where}: images must be uint8 [N, H, W] or [N, H, W, 1 | 3 | 4], not {images.dtype} {list(images.shape)}"
        )
    if len(images) != len(labels):
        raise InputError(f"{where}: {len(images)} images but {len(labels)} labels")
    if labels.dtype.kind not in "iuU":
        raise InputError(f"{where}: labels must be integers or strings, not {labels.dtype}")


def _classes(
    labels: Mapping[str, np.ndarray], names: np.ndarray | None, where: str
) -> tuple[list[str], dict[str, np.ndarray]]:
    every = np.concatenate(list(labels.values()))
    if every.dtype.kind == "U":
        known = sorted(set(every.tolist())) if names is None else [str(name) for name in names]
        if missing := set(every.tolist()) - set(known):
            raise InputError(f"{where}: label {min(missing)!r} is not among class_names")
        number = {name: i for i, name in enumerate(known)}
        return known, {s: np.array([number[name] for name in v.tolist()], np.int32) for s, v in labels.items()}
    known = [str(i) for i in range(int(every.max(initial=-1)) + 1)] if names is None else [str(name) for name in names]
    if every.size and not 0 <= every.min() <= every.max() < len(known):
        raise InputError(f"{where}: labels from {every.min()} to {every.max()}; they must be 0 to {len(known) - 1}")
    return known, {split: value.astype(np.int32) for split, value in labels.items()}


def _source(images: np.ndarray, labels: np.ndarray, class_names: list[str], channels: int) -> Source:
    def read(index: int) -> dict:
        return {"image": with_channels(images[index], channels), "label": int(labels[index])}

    return Source(len(images), read, class_names, lambda start, stop: labels[start:stop])
