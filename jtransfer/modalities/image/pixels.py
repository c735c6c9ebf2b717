"""Decodes image files to pixels, with the number of channels that a model takes."""

import io
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from jtransfer.core.errors import InputError
from jtransfer.modalities.image import depth, jpeg
from jtransfer.modalities.image.opening import MOST_PIXELS, UNREADABLE, open_image

_GREYS = ("I;16", "I;16B", "I;16L", "I", "F")  # modes of more than 8 bits
_ORIENTATION, _BITS, _PHOTOMETRIC, _FORMAT = 274, 258, 262, 339  # tags of TIFF
_EXTREMES = ((280, 281), (340, 341))  # MinSampleValue and MaxSampleValue, SMinSampleValue and SMaxSampleValue


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns an image with a number of channels.

    One that has them is returned as it is. To 3 or 1 channels, grey is repeated, colours become luma (Rec. 601), and
    transparent images are laid over white.

    Args:
      image: uint8 [H, W] or [H, W, C].
      channels: 3 or 1; or C.

    Returns:
      uint8 [H, W, channels].

    Raises:
      InputError: The image is no uint8 image, or has other channels that can't be made into these.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise InputError(f"an image must be uint8 [H, W] or [H, W, C], not {image.dtype} {list(image.shape)}")
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] == channels:
        return image
    if channels not in (1, 3) or image.shape[2] not in (1, 3, 4):
        raise InputError(
            f"an image {list(image.shape)} has {image.shape[2]} channels, and data.channels={channels} are asked for; "
            f"set data.channels={image.shape[2]}"
        )
    if image.shape[2] == 4:
        image = _over_white(image)
    if image.shape[2] == channels:
        return image
    return (
        cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    )


def decode(file: str, channels: int, limits: Sequence[float] = (), most: int = MOST_PIXELS) -> np.ndarray:
    """Reads an image file of one of `opening.KINDS`, upright as its EXIF orientation says.

    Palettes are resolved, transparent images are laid over white, and of an animation or of several pages the first is
    taken. Images of more than 8 bits are read as `depth` says.

    Args:
      file: The path of the file.
      channels: 3 or 1; or 4, which keeps the transparency.
      limits: `config.data.range`, the values that become 0 and 255 in images of more than 8 bits.
      most: `config.data.max_pixels`, the most pixels that it may have.

    Returns:
      uint8 [H, W, channels].

    Raises:
      InputError: The file can't be read, is cut short, has more pixels, or holds values whose range is not known.
    """
    array, found = values(file, limits, most)
    try:
        return with_channels(depth.to_uint8(array, found), channels)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def png(image: np.ndarray) -> bytes:
    """Returns the content of a PNG file of an image, uint8 [H, W, C] of 1, 3 or 4 channels."""
    content = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(content, "PNG", compress_level=1)
    return content.getvalue()


def reader(spec: Mapping) -> Callable[[str], np.ndarray]:
    """Returns `decode` as a function of a file, with `channels`, `range` and `max_pixels` of a spec of data."""
    channels, limits = spec.get("channels", 3), spec.get("range", ())
    most = spec.get("max_pixels", MOST_PIXELS)
    return lambda file: decode(file, channels, limits, most)


def values(file: str, limits: Sequence[float] = (), most: int = MOST_PIXELS) -> tuple[np.ndarray, Sequence[float]]:
    """Returns the values of an image file, upright, and what they go from and to.

    Args:
      file: The path of the file.
      limits: `config.data.range`; without it, the range is what the file states.
      most: As for `decode`.

    Returns:
      An array [H, W] or [H, W, C], of another dtype than uint8 where the file has more than 8 bits; and a pair of
      numbers, empty where the dtype tells them.

    Raises:
      InputError: As for `decode`.
    """
    try:
        if (found := jpeg.pixels(file, most)) is not None:
            return found, ()
        with open_image(file, most) as opened:
            return _read(opened, file, limits)
    except UNREADABLE as error:
        raise InputError(f"cannot read the image {file}: {error}; repair or remove the file") from None


def _read(opened: ImageFile.ImageFile, file: str, limits: Sequence[float]) -> tuple[np.ndarray, Sequence[float]]:
    scaled = opened.format == "PPM" and opened.tile[0][0] != "raw"  # by Pillow, from the largest value that it states
    inverted = opened.mode in _GREYS and getattr(opened, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    limits = () if scaled else limits or _stated(opened)
    if _has_deep_colours(opened):
        orientation, turns = opened.getexif().get(_ORIENTATION, 1), opened.format == "TIFF"  # OpenCV turns TIFF itself
        opened.load()  # which says if the file is cut short
        if (colours := None if turns and orientation > 4 else _colours(file)) is not None:
            return (colours if turns else _upright(colours, orientation)), limits
        if limits:
            raise ValueError("data.range needs its 16 bits of colour, which can't be read of such a file")
    unsigned = getattr(opened, "tag_v2", {}).get(_FORMAT, (1,))[0] == 1
    ImageOps.exif_transpose(opened, in_place=True)
    image = opened
    if image.mode not in _GREYS:
        return _array(image, _eight_bits), ()
    array = _array(image, lambda part: part)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if image.mode == "I":
        sixteen = opened.format in ("PPM", "PNG")
        array = array.astype(np.uint16) if sixteen else array.view(np.uint32) if unsigned else array
    if inverted and (limits or array.dtype == np.uint16):
        array = sum(limits or (0, 65535)) - array.astype(np.float64 if limits else np.uint16)
    return array, limits


def _stated(image: Image.Image) -> tuple[float, ...]:
    """The range of values that a TIFF file states, or (); a largest value that is only that of the image is none."""
    tags = getattr(image, "tag_v2", {}) if image.mode in _GREYS else {}
    if 8 < (bits := tags.get(_BITS, (16,))[0]) < 16:
        return 0, 2**bits - 1
    for lowest, highest in _EXTREMES:
        low, high = (float(np.ravel(tags.get(tag, 0))[0]) for tag in (lowest, highest))
        if low == 0 and high in (1, *(2**bits - 1 for bits in range(8, 33))):
            return low, high
    return ()


def _has_deep_colours(image: ImageFile.ImageFile) -> bool:
    arguments = image.tile[0][3] if image.tile else ()
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return image.mode in ("RGB", "RGBA", "LA") and ";16" in str(raw) and "transparency" not in image.info


def _colours(file: str) -> np.ndarray | None:
    """All 16 bits of colours, of which Pillow keeps the high byte; None if OpenCV can't read them."""
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] < 3:
        return None
    for rows in depth.parts(image.shape):
        image[rows, :, :3] = image[rows, :, 2::-1].copy()
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """An array turned as `ImageOps.exif_transpose` turns an image."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _array(image: Image.Image, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """The array of what a function makes of an image, some rows at a time: all of it would be held three times."""
    width, height = image.size
    parts = list(depth.parts((height, width)))
    if len(parts) == 1:
        return np.asarray(change(image))
    first = np.asarray(change(image.crop((0, 0, width, 1))))
    out = np.empty((height, *first.shape[1:]), first.dtype)
    for rows in parts:
        out[rows] = np.asarray(change(image.crop((0, rows.start, width, rows.stop))))
    return out


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _over_white(image: np.ndarray) -> np.ndarray:
    return depth.by_rows(image, _blended, image[..., :3].shape)


def _blended(image: np.ndarray) -> np.ndarray:
    alpha = image[..., 3:].astype(np.uint32)
    return (image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
