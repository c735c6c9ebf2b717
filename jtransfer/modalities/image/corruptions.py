"""Corruptions of images at five severities, after ImageNet-C (Hendrycks and Dietterich 2019, arXiv:1903.12261).

Strengths are that benchmark's, which are of images of 224 pixels; the width of a blur is scaled with the image's
shorter side. They are applied to an image as the data have it, before it is resized for the model.
"""

from collections.abc import Callable

import cv2
import numpy as np

_SIDE = 224
_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
_BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)
_QUALITY = (25, 18, 15, 10, 7)
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Adds Gaussian noise to each pixel, the same to all channels of a picture that is grey."""
    grey = image.shape[-1] == 1 or bool((image == image[..., :1]).all())
    drawn = rng.normal(size=(*image.shape[:2], 1 if grey else image.shape[-1]))
    return _bytes(image + 255 * _NOISE[severity - 1] * drawn)


def blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Blurs by a Gaussian."""
    sigma = _BLUR[severity - 1] * min(image.shape[:2]) / _SIDE
    return cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)


def jpeg(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Writes a JPEG file of low quality and reads it again."""
    stored = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY[severity - 1]]
    )[1]
    flag = cv2.IMREAD_GRAYSCALE if image.shape[-1] == 1 else cv2.IMREAD_COLOR
    read = cv2.imdecode(stored, flag)
    assert read is not None
    return np.ascontiguousarray(read.reshape(image.shape)[..., ::-1])


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Moves all pixels towards the mean of their channel."""
    mean = image.mean((0, 1), keepdims=True)
    return _bytes((image - mean) * _CONTRAST[severity - 1] + mean)


CORRUPTIONS: dict[str, Corruption] = {"noise": noise, "blur": blur, "jpeg": jpeg, "contrast": contrast}
