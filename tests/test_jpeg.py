"""JPEG files against Pillow: the same pixels, and the same files that can't be read."""

import io

import numpy as np
import pytest
from PIL import Image

from jtransfer.core.errors import InputError
from jtransfer.modalities.image import jpeg, pixels


def content(mode="RGB", **options):
    """The bytes of a JPEG of 37×50 pixels."""
    rows, columns = np.mgrid[:37, :50]
    waves = np.sin(rows[..., None] / 3 + np.arange(3)) + np.cos(columns[..., None] / 4)
    file = io.BytesIO()
    Image.fromarray((waves * 60 + 128).astype(np.uint8)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def turned(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return content(exif=tags)


def written(folder, raw):
    path = folder / "image.jpg"
    path.write_bytes(raw)
    return str(path)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0, "quality": 95}, {"keep_rgb": True}, {"optimize": True}])
@pytest.mark.parametrize("after", [b"", b"\0\0more"])
def test_opencv_gives_the_pixels_of_pillow(tmp_path, options, after):
    path = written(tmp_path, content(**options) + after)
    np.testing.assert_array_equal(jpeg.pixels(path, 10**6), np.asarray(Image.open(path)))


def test_an_upright_image_with_tags_is_read_alike(tmp_path):
    path = written(tmp_path, turned(1))
    np.testing.assert_array_equal(jpeg.pixels(path, 10**6), np.asarray(Image.open(path)))


@pytest.mark.parametrize(
    "raw", [content("L"), content("CMYK"), content(progressive=True), turned(6), b"", b"\xff\xd8\xff", b"GIF8"]
)
def test_others_are_left_to_pillow(tmp_path, raw):
    assert jpeg.pixels(written(tmp_path, raw), 10**6) is None


def test_a_large_image_is_left_to_what_refuses_it(tmp_path):
    path = written(tmp_path, content())
    assert jpeg.pixels(path, 37 * 50 - 1) is None
    with pytest.raises(InputError, match=r"50 × 37 pixels, more than data\.max_pixels=1,849"):
        pixels.decode(path, 3, (), 37 * 50 - 1)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-40], lambda raw: raw[:-40] + b"\xff\x38" + raw[-38:]])
def test_what_is_damaged_is_an_error(tmp_path, damage):
    path = written(tmp_path, damage(content(quality=95)))
    assert jpeg.pixels(path, 10**6) is None
    with pytest.raises(InputError, match="cannot read the image"):
        pixels.decode(path, 3)
