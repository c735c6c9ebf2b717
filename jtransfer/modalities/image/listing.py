"""The files of a folder of images: which are images, and what was passed over."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jtransfer.core.errors import InputError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"))
_LEFT_OUT = frozenset(  # what notebooks, file servers and operating systems leave in folders
    ("@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "__pycache__", "lost+found")
) | {"thumbs.db", "ehthumbs.db", "desktop.ini", "system volume information"}

Parts = tuple[str, ...]  # of a path below the root: folders and file, in Unicode's composed form


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
      images: Parts of the path → path, of each image, in the order of the parts.
      folders: The parts of each folder that is no hidden one, with or without images.
      others: Parts of the path of a folder → suffix → the number of files in it that are of no kind that is read.
      hidden: Name → the number of folders of that name that were passed over.
    """

    images: dict[Parts, str]
    folders: set[Parts]
    others: dict[Parts, Counter[str]]
    hidden: Counter[str]

    def unread(self, folder: str = "") -> Counter[str]:
        """Returns suffix → the number of files of no kind that is read, below all folders of a name or everywhere."""
        return sum((c for parts, c in self.others.items() if not folder or folder in parts), Counter())


def scan(root: Path) -> Listing:
    """Lists the images below a folder; hidden files and folders, and those of thumbnails or trash, are left out."""
    found = Listing({}, set(), {}, Counter())
    _scan(os.fspath(root), (), found, frozenset())
    return found._replace(images=dict(sorted(found.images.items(), key=lambda image: "/".join(image[0]))))


def _scan(folder: str, parts: Parts, found: Listing, above: frozenset[str]) -> None:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return
    others: Counter[str] = Counter()
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    for entry in entries:
        name = unicodedata.normalize("NFC", entry.name)
        if entry.is_dir():
            if _is_left_out(name):
                found.hidden[name] += 1
            else:
                found.folders.add((*parts, name))
                _scan(entry.path, (*parts, name), found, above | {real})
        elif not _is_left_out(name):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES and (entry.is_file() or entry.is_symlink()):
                while (*parts, name) in found.images:  # in another folder of the same name, differently composed
                    name += "'"
                found.images[(*parts, name)] = entry.path
            else:
                others[suffix] += 1
    if others:
        found.others[parts] = others


def _is_left_out(name: str) -> bool:
    return name[0] == "." or name.lower() in _LEFT_OUT


def told(counts: Mapping[str, int]) -> str:
    """Returns counts as text, such as "2 .heic, 1 .zip"."""
    return ", ".join(f"{count} {name or 'without suffix'}" for name, count in sorted(counts.items()))
