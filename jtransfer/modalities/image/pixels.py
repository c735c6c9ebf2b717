"""Decodes image files to pixels, with the number of channels that a model takes."""

import cv2
import numpy as np
from PIL import Image, ImageOps

from jtransfer.core.errors import InputError


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns an image with another number of channels.

    Grey is repeated, colours become luma (Rec. 601), and transparent images are laid over white.

    Args:
      image: uint8 [H, W] or [H, W, 1 | 3 | 4].
      channels: 3 or 1.

    Returns:
      uint8 [H, W, channels].
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise InputError(f"an image must be uint8 [H, W] or [H, W, 1 | 3 | 4], not {image.dtype} {list(image.shape)}")
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] == 4:
        image = _over_white(image)
    if image.shape[2] == channels:
        return image
    return (
        cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if channels == 3 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    )


def decode(file: str, channels: int) -> np.ndarray:
    """Reads an image file of any format that Pillow reads, upright as its EXIF orientation says.

    Palettes are resolved, transparent images are laid over white, grey of 16 bits keeps its high byte, and of an
    animation the first frame is taken.

    Args:
      file: The path of the file.
      channels: 3 or 1.

    Returns:
      uint8 [H, W, channels].

    Raises:
      InputError: The file can't be read, is cut short, or is larger than Pillow's limit for decompression bombs.
    """
    try:
        with Image.open(file) as opened:
            image = _eight_bits(ImageOps.exif_transpose(opened))
        return with_channels(np.asarray(image), channels)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image {file}: {error}; repair or remove the file") from None


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")


def _over_white(image: np.ndarray) -> np.ndarray:
    alpha = image[..., 3:].astype(np.uint32)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
