"""Finds image files that are no images or not whole, by their first and last bytes; what is in doubt is decoded."""

import functools
import hashlib
import operator
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from jtransfer.modalities.image import headers
from jtransfer.modalities.image.headers import LENGTH
from jtransfer.modalities.image.opening import MOST_PIXELS, UNREADABLE, open_image, too_large

_TAIL, _THREADS = 4096, 16
_WHOLE = {  # the first bytes of a kind → what the last bytes of a whole file have
    b"\xff\xd8\xff": b"\xff\xd9",
    b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82",
    b"GIF8": b"\x3b",
}
_PARTS = ((273, 279), (324, 325))  # tags of TIFF: offsets and lengths of strips, and of tiles
_DOUBT = "?"


class Checked(NamedTuple):
    """What is known of a file.

    Attributes:
      problem: Why it can't be read; "" if it can.
      digest: A digest of its size, its first and its last bytes, the same for files of the same content.
      deep: Whether it may have more than 8 bits.
      size: The width and the height, where its first bytes tell them.
    """

    problem: str
    digest: bytes
    deep: bool
    size: tuple[int, int] | None


def check(paths: Sequence[str], most: int = MOST_PIXELS) -> list[Checked]:
    """Checks files. What is known of a file is kept until it changes.

    Args:
      paths: The paths of the files.
      most: The most pixels of an image that is read.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        looked = list(threads.map(_looked_at, paths))
    with warnings.catch_warnings():  # which threads can't share
        warnings.simplefilter("ignore")
        return [_resolved(path, one, most) for path, one in zip(paths, looked, strict=True)]


def _looked_at(path: str) -> Checked:
    try:
        stat = os.stat(path)
        return _ends(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        return Checked(error.strerror or "can't be read", b"", False, None)


@functools.lru_cache(1 << 18)
def _ends(path: str, size: int, changed: int) -> Checked:
    with open(path, "rb") as file:
        head = file.read(LENGTH)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    digest = hashlib.blake2b(b"%d" % size + head + tail, digest_size=16).digest()
    problem = "it is empty" if not size else "" if _is_whole(head, tail, size) else _DOUBT
    return Checked(problem, digest, _may_be_deep(head), headers.size(head))


def _resolved(path: str, looked: Checked, most: int) -> Checked:
    """What is known of a file, also where its first and last bytes do not tell."""
    if looked.problem not in ("", _DOUBT) or (looked.size and not looked.problem and not too_large(looked.size, most)):
        return looked
    return _opened(path, looked, most)


@functools.lru_cache(1 << 16)
def _opened(path: str, looked: Checked, most: int) -> Checked:
    """What is known of a file from opening it and, where it is in doubt, decoding it; of TIFF, from where its parts
    lie."""
    try:
        with open_image(path, most) as image:
            if looked.problem and not _holds_its_parts(image, os.path.getsize(path)):
                image.load()
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            return looked._replace(problem=f"it is no image, but begins with {file.read(12)!r}")
    except UNREADABLE as error:
        return looked._replace(problem=" ".join(str(error).split()) or type(error).__name__)
    return looked._replace(problem="")


def _is_whole(head: bytes, tail: bytes, size: int) -> bool:
    """Does a file begin as an image and end as a whole one? False where the bytes do not tell."""
    for first, last in _WHOLE.items():
        if head.startswith(first):
            return last in tail[-32:]
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return size >= 8 + int.from_bytes(head[4:8], "little")
    return head.startswith(b"BM") and size >= int.from_bytes(head[2:6], "little") > 54


def _may_be_deep(head: bytes) -> bool:
    if head.startswith(b"\x89PNG"):
        return head[24:25] == b"\x10"
    return not head.startswith((b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM"))


def _holds_its_parts(image: Image.Image, size: int) -> bool:
    tags = getattr(image, "tag_v2", {})
    parts = [(tags.get(start), tags.get(length)) for start, length in _PARTS]
    return any(a and b and max(map(operator.add, a, b)) <= size for a, b in parts)
