"""Decoded pixels with the number of channels a model takes."""

import cv2
import numpy as np
from PIL import Image, ImageOps

from jtransfer.core.errors import InputError


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An image uint8 [H, W] or [H, W, 1 | 3 | 4] as uint8 [H, W, channels], `channels` 3 or 1.

    Grey is repeated, colour becomes luma (Rec. 601), an alpha channel is laid over white.
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
    """An image file of any kind Pillow reads as uint8 [H, W, channels], upright by its EXIF orientation.

    Palettes are resolved, transparency is laid over white, 16-bit grey keeps its high byte; of an animation the first
    frame.

    Raises:
      InputError: the file cannot be read, is cut short, or is larger than Pillow's limit for decompression bombs.
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
