"""Reads images from a folder of class folders, `root/class/…/image.jpg` or `root/train/class/…/image.jpg`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source
from jtransfer.modalities.image import checked_files, layout, listing
from jtransfer.modalities.image.listing import Listing, Parts
from jtransfer.modalities.image.pixels import reader


def folder_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of a folder of images. The classes are the names of the class folders in sorted order.

    The class folders lie in the root, and make the one split "all", or in folders whose names stand for splits, such as
    "train", "Training" or "seg_train" (`layout.arrange`). Hidden files and folders and those of thumbnails are passed
    over. Names are compared in Unicode's composed form, in which all systems write them alike.

    Args:
      location: The path of the folder.
      spec: `channels` is 3, or 1 for grey images; `broken` is "stop", or "skip" to leave out files that can't be read;
        `range` is for images of more than 8 bits (`depth`).

    Returns:
      Split → source; all have the same classes. Images can be grouped by the columns "folder", the folder that holds
      them, and "prefix", the name up to the first "_", "-", "." or space.

    Raises:
      InputError: There is no such folder, it has no class folders, a class has no images, an image can't be read, or
        the range of its values is not known.
    """
    root, where = Path(location).expanduser(), f"folder:{location}"
    if not root.is_dir():
        raise InputError(f"{where}: there is no such folder")
    found = listing.scan(root)
    files = checked_files.check(list(found.images.values()), spec, where)
    whole = {parts: path for parts, path in found.images.items() if path not in files.problems}
    arranged, notes = layout.arrange(found._replace(images=whole), where)
    lines = (*_passed_over(found, where), *files.notes, *notes)
    class_names = sorted(set().union(*arranged.values()))
    decoded = reader(spec)

    def source(classes: layout.Classes) -> Source:
        images = [parts for name in class_names for parts in classes.get(name, ())]
        paths, counts = [whole[parts] for parts in images], [len(classes.get(name, ())) for name in class_names]
        labels = np.repeat(np.arange(len(class_names), dtype=np.int32), counts)

        def read(index: int) -> dict:
            return {"image": decoded(paths[index]), "label": int(labels[index])}

        return Source(
            len(paths),
            read,
            class_names,
            lambda start, stop: labels[start:stop],
            column=_column(images, where),
            fingerprint=lambda index: files.digests[paths[index]],
            notes=lines,
        )

    return {split: source(classes) for split, classes in arranged.items()}


def _column(images: list[Parts], where: str) -> Callable[[str], list[str]]:
    def column(name: str) -> list[str]:
        if name == "folder":
            return [parts[-2] for parts in images]
        if name == "prefix":
            return [re.split(r"[_\-. ]", parts[-1])[0] for parts in images]
        raise InputError(f"{where}: has no column {name!r}, only 'folder' and 'prefix'")

    return column


def _passed_over(found: Listing, where: str) -> list[str]:
    told = []
    if unread := found.unread():
        told.append(f"{where}: passes over files of kinds that are not read: {listing.told(unread)}")
    if found.hidden:
        told.append(f"{where}: passes over hidden folders, thumbnails and trash: {', '.join(sorted(found.hidden))}")
    return told
