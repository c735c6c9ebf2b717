"""Opens image files by Pillow: of kinds that it decodes by itself, and of as many pixels as may be held in memory."""

import functools
import os

from PIL import Image, ImageFile

from jtransfer.core.errors import InputError
from jtransfer.modalities.image import headers

MOST_PIXELS = 50_000_000  # by default; some 400 MB while they are decoded
KINDS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, OverflowError, Image.DecompressionBombError)


def open_image(file: str, most: int = MOST_PIXELS) -> ImageFile.ImageFile:
    """Opens an image file whose header tells no more than `most` pixels. What the file is, its content alone tells.

    Other kinds, such as EPS, for which Pillow starts another program, are as files that are no images.

    Args:
      file: The path of the file.
      most: `config.data.max_pixels`.

    Raises:
      InputError: It has more pixels.
      OSError: It can't be read, or is no image; or another error of `UNREADABLE`.
    """
    with open(file, "rb") as opened:
        check(headers.size(opened.read(headers.LENGTH)), most)
    if most > max(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or most):
        Image.MAX_IMAGE_PIXELS = most
    image = Image.open(os.fspath(file), formats=_kinds())
    check(image.size, most)
    return image


@functools.cache
def _kinds() -> list[str]:
    """Those that this build of Pillow decodes."""
    Image.init()
    return [kind for kind in KINDS if kind in Image.OPEN]


def check(size: tuple[int, int] | None, most: int) -> None:
    """Raises InputError if an image of a width and a height, if they are known, has more than `most` pixels."""
    if problem := too_large(size, most):
        raise InputError(problem)


def too_large(size: tuple[int, int] | None, most: int) -> str:
    """Returns what is wrong with the width and the height of an image, or ""."""
    if size is None or size[0] * size[1] <= most:
        return ""
    width, height = size
    return (
        f"it has {width:,} × {height:,} pixels, more than data.max_pixels={most:,}; make it smaller, or set "
        "data.max_pixels"
    )
