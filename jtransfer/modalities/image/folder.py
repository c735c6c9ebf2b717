"""Reads images from a folder of class folders, `root/class/…/image.jpg` or `root/train/class/…/image.jpg`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source
from jtransfer.modalities.image.pixels import decode

_SPLITS = ("train", "test", "val", "valid", "validation")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"))


def folder_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of a folder of images. The classes are the names of the class folders in sorted order.

    If "train" or "test" has folders inside, every subfolder with the name of a split is a split. Otherwise the class
    folders lie in the root, and make the one split "all".

    Args:
      location: The path of the folder.
      spec: `channels` is 3, or 1 for grey images.

    Returns:
      Split → source; all have the same classes.

    Raises:
      InputError: There is no such folder, it has no class folders, or a class has no images.
    """
    root = Path(location).expanduser()
    if not root.is_dir():
        raise InputError(f"folder:{location}: there is no such folder")
    nested = any(_folders(root / split) for split in _SPLITS[:2])
    parts = {s: root / s for s in _SPLITS if _folders(root / s)} if nested else {"all": root}
    files = {split: _images(part) for split, part in parts.items()}
    class_names = sorted(set().union(*files.values()))
    if not class_names:
        raise InputError(
            f"folder:{location}: holds no class folders; put the images of each class in a folder of its name"
        )
    for name in class_names:
        if not any(by_class.get(name) for by_class in files.values()):
            kinds = " ".join(sorted(SUFFIXES))
            raise InputError(
                f"folder:{location}: the class folder {name!r} holds no image ({kinds}); fill or remove it"
            )
    channels = spec.get("channels", 3)
    return {split: _source(by_class, class_names, channels) for split, by_class in files.items()}


def _source(files: Mapping[str, list[str]], class_names: list[str], channels: int) -> Source:
    paths = [path for name in class_names for path in files.get(name, ())]
    counts = [len(files.get(name, ())) for name in class_names]
    labels = np.repeat(np.arange(len(class_names), dtype=np.int32), counts)

    def read(index: int) -> dict:
        return {"image": decode(paths[index], channels), "label": int(labels[index])}

    return Source(len(paths), read, class_names, lambda start, stop: labels[start:stop])


def _images(root: Path) -> dict[str, list[str]]:
    return {folder.name: _files(folder) for folder in _folders(root)}


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and path.name[0] != "."] if root.is_dir() else []


def _files(folder: Path) -> list[str]:
    images = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    return sorted(str(path) for path in images if path.is_file())
