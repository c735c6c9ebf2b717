"""The operations of RandAugment against Pillow's, which define them."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jtransfer.modalities.image import affine, randaugment

MOVING = {3, 10, 11}  # rotation and shears, which are computed in float32


def picture(shape=(32, 41, 3), low=20, high=200):
    """A smooth picture with some noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = np.sin(rows[..., None] / 5 + np.arange(shape[2])) + np.cos(columns[..., None] / 7)
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, shape)
    return np.interp(waves + noise, (-2.2, 2.2), (low, high)).astype(np.uint8)


def moved(image, numbers):
    fill = 128 if image.mode == "L" else (128,) * 3
    return image.transform(image.size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR, fillcolor=fill)


def rotated(image, degrees):
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=128 if image.mode == "L" else (128,) * 3)


def pillows(which, image, strength, sign):
    share = strength * sign
    enhance = (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Sharpness)
    kinds = dict(zip((5, 7, 8, 9), enhance, strict=True))
    if which in kinds:
        return kinds[which](image).enhance(1 + 0.9 * share)
    return {
        0: lambda: image,
        1: lambda: ImageOps.autocontrast(image),
        2: lambda: ImageOps.equalize(image),
        3: lambda: rotated(image, 30 * share),
        4: lambda: ImageOps.solarize(image, round(256 * (1 - strength))),
        6: lambda: ImageOps.posterize(image, 8 - round(4 * strength)),
        10: lambda: moved(image, (1, 0.3 * share, 0, 0, 1, 0)),
        11: lambda: moved(image, (1, 0, 0, 0.3 * share, 1, 0)),
        12: lambda: moved(image, (1, 0, 0.45 * share * image.width, 0, 1, 0)),
        13: lambda: moved(image, (1, 0, 0, 0, 1, 0.45 * share * image.height)),
    }[which]()


@pytest.mark.parametrize("which", range(14))
@pytest.mark.parametrize("shape", [(32, 41, 3), (32, 41, 1), (1, 1, 3), (2, 5, 3)])
def test_operations_are_those_of_pillow(which, shape):
    image = picture(shape)
    for strength, sign in ((0.0, 1), (0.37, 1), (0.9, -1), (1.0, 1)):
        opened = Image.fromarray(image[..., 0] if shape[2] == 1 else image)
        expected = np.asarray(pillows(which, opened, strength, sign), int).reshape(shape)
        found = randaugment.OPERATIONS[which](image, strength, sign)
        assert found.dtype == np.uint8
        off = np.abs(found - expected)
        assert off.max() <= (which in MOVING), (strength, sign)
        assert (off > 0).sum() <= max(2, 0.01 * off.size)


@pytest.mark.parametrize("which", [3, 10])
def test_images_too_large_for_float32_are_moved_by_pillow(which, monkeypatch):
    monkeypatch.setattr(affine, "LARGEST", 20)
    image = picture()
    expected = pillows(which, Image.fromarray(image), 0.9, 1)
    np.testing.assert_array_equal(randaugment.OPERATIONS[which](image, 0.9, 1), np.asarray(expected))


def test_values_that_are_all_the_same_stay():
    image = np.full((6, 7, 3), 9, np.uint8)
    for which in (1, 2):
        np.testing.assert_array_equal(randaugment.OPERATIONS[which](image, 1.0, 1), image)
