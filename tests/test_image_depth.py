"""Images that are not 8 bits of RGB: what becomes of them, in folders and arrays, by what Pillow and NumPy say."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import tfds
from jtransfer.modalities.image.pixels import decode

RNG = np.random.default_rng(0)
RAMP = np.linspace(0, 1, 48).reshape(6, 8)
EXPECTED = np.rint(RAMP * 255)


def write(tmp_path, image, name="a.tif", **kwargs):
    path = tmp_path / "x" / name
    path.parent.mkdir(exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **kwargs)
    return str(path)


def folder(tmp_path, **spec):
    return data.open({"name": f"folder:{tmp_path}", "channels": 1, **spec}, "all")


DEEP = {
    "float 0 to 1": (RAMP.astype(np.float32), (0, 1)),
    "float 0 to 255": ((RAMP * 255).astype(np.float32), (0, 255)),
    "float -1 to 1": ((RAMP * 2 - 1).astype(np.float32), (-1, 1)),
    "int32": ((RAMP * 100_000).astype(np.int32), (0, 100_000)),
    "signed": ((RAMP * 2000 - 1000).astype(np.int32), (-1000, 1000)),
    "12 bits": ((RAMP * 4095).astype(np.uint16), (0, 4095)),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("place", ["folder", "npz"])
def test_a_range_that_is_not_known_is_asked_for_and_then_kept(tmp_path, kind, place):
    image, limits = DEEP[kind]
    if place == "folder":
        write(tmp_path, image)
        spec = {"name": f"folder:{tmp_path}", "channels": 1}
    else:
        np.savez(tmp_path / "a.npz", images=image[None], labels=[0])
        spec = {"name": f"npz:{tmp_path / 'a.npz'}", "channels": 1}
    asked = r"data\.range=\((\S+), (\S+)\)"
    with pytest.raises(InputError, match=asked):
        data.open(spec, "all")
    source = data.open({**spec, "range": limits}, "all")
    assert np.abs(source[0]["image"][..., 0].astype(int) - EXPECTED).max() <= 1
    assert any("are read with values from" in note for note in source.notes)


def test_what_lies_outside_of_the_range_is_told(tmp_path):
    write(tmp_path, (RAMP * 2000 - 1000).astype(np.int32))
    source = folder(tmp_path, range=(0, 500))
    assert "from -1000 to 1000, is cut off" in source.notes[0]
    assert (source[0]["image"].min(), source[0]["image"].max()) == (0, 255)


def test_twelve_bits_that_a_file_states_are_known(tmp_path):
    write(tmp_path, (RAMP * 4095).astype(np.uint16), tiffinfo={281: 4095})
    assert np.abs(folder(tmp_path)[0]["image"][..., 0].astype(int) - EXPECTED).max() <= 1


def test_the_brightest_value_of_one_image_is_not_its_range(tmp_path):
    image = (RAMP * 30_000).astype(np.uint16)
    write(tmp_path, image, tiffinfo={281: int(image.max())})
    np.testing.assert_array_equal(folder(tmp_path)[0]["image"][..., 0], image >> 8)


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bits_keep_their_high_byte(tmp_path, suffix):
    image = (RAMP * 65535).astype(np.uint16)
    write(tmp_path, image, f"a.{suffix}")
    source = folder(tmp_path)
    np.testing.assert_array_equal(source[0]["image"][..., 0], image >> 8)
    assert "16 bits are read with values from 0 to 65535; the largest is 65535" in source.notes[0]


def test_a_pgm_file_says_its_largest_value(tmp_path):
    (tmp_path / "x").mkdir()
    values = (RAMP * 4095).astype(">u2")
    (tmp_path / "x" / "a.pgm").write_bytes(b"P5 8 6 4095\n" + values.tobytes())
    for spec in ({}, {"range": (0, 4095)}):
        assert np.abs(folder(tmp_path, **spec)[0]["image"][..., 0].astype(int) - EXPECTED).max() <= 1


def test_grey_whose_zero_is_white_is_inverted(tmp_path):
    path = Path(write(tmp_path, (RAMP * 65535).astype(np.uint16)))
    raw = bytearray(path.read_bytes())
    entry = raw.index((262).to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00")
    raw[entry + 8] = 0  # PhotometricInterpretation: WhiteIsZero
    path.write_bytes(raw)
    np.testing.assert_array_equal(folder(tmp_path)[0]["image"][..., 0], 255 - ((RAMP * 65535).astype(np.uint16) >> 8))


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_of_colour(tmp_path, alpha):
    import cv2

    colours = RNG.integers(0, 4096, (6, 8, 4 if alpha else 3)).astype(np.uint16)
    colours[..., 3:] = 4095
    (tmp_path / "x").mkdir()
    order = [2, 1, 0, 3][: colours.shape[2]]
    cv2.imwrite(str(tmp_path / "x" / "a.png"), colours[..., order])
    with pytest.raises(InputError, match=r"nearly black.*data\.range=\(0, 4095\)"):
        data.open({"name": f"folder:{tmp_path}"}, "all")
    image = data.open({"name": f"folder:{tmp_path}", "range": (0, 4095)}, "all")[0]["image"]
    np.testing.assert_array_equal(image, np.rint(colours[..., :3] * (255 / 4095)))


def write_tiff(path, colours, orientation):
    """A TIFF file of 16 bits of colour, which Pillow does not write."""
    height, width, _ = colours.shape
    raw, start = colours.astype("<u2").tobytes(), 8 + 2 + 12 * 11 + 4
    tags = [(256, width), (257, height), (258, start), (259, 1), (262, 2), (273, start + 6), (274, orientation)]
    tags += [(277, 3), (278, height), (279, len(raw)), (284, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, v) for tag, v in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<IHHH", 0, 16, 16, 16)
    path.write_bytes(head + raw)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_files_of_sixteen_bits_of_colour_are_upright(tmp_path, orientation):
    path = tmp_path / "a.tif"
    write_tiff(path, RNG.integers(0, 65536, (4, 6, 3)), orientation)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(decode(str(path), 3), expected)
    if orientation > 4:
        with pytest.raises(InputError, match="needs its 16 bits of colour"):
            decode(str(path), 3, (0, 4095))


def over_white(image):
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return np.asarray(white.convert("RGB")).astype(int)


def coloured(mode):
    noise = Image.fromarray(RNG.integers(0, 256, (16, 24, 4), dtype=np.uint8), "RGBA")
    return noise.convert("RGB").quantize(16) if mode == "P" else noise.convert(mode)


@pytest.mark.parametrize(
    ("mode", "name", "kwargs"),
    [
        ("RGBA", "a.png", {}),
        ("LA", "a.png", {}),
        ("P", "a.png", {"transparency": 3}),
        ("P", "a.png", {"transparency": bytes(range(0, 256, 16))}),
        ("P", "a.gif", {"transparency": 2}),
        ("L", "a.png", {"transparency": 7}),
        ("RGB", "a.png", {"transparency": (1, 2, 3)}),
        ("1", "a.png", {}),
        ("RGBA", "a.webp", {"lossless": True}),
        ("RGBA", "a.tif", {}),
        ("CMYK", "a.jpg", {}),
        ("CMYK", "a.tif", {}),
        ("L", "a.jpg", {}),
    ],
)
def test_colours_are_as_pillow_lays_them_over_white(tmp_path, mode, name, kwargs):
    path = write(tmp_path, coloured(mode), name, **kwargs)
    with Image.open(path) as opened:
        expected = over_white(opened)
    assert np.abs(decode(path, 3).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, coloured("RGB"), name, exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(decode(path, 3), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", ["grey", "colour"])
def test_deep_images_are_upright(tmp_path, orientation, deep):
    from jtransfer.modalities.image.pixels import _upright

    exif = Image.Exif()
    exif[0x0112] = orientation
    image = RNG.integers(0, 65536, (4, 6), dtype=np.uint16)
    path = write(tmp_path, image, "a.png", exif=exif)
    if deep == "grey":
        with Image.open(path) as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened)) >> 8
        np.testing.assert_array_equal(decode(path, 1)[..., 0], expected)
    else:
        with Image.open(path) as opened:
            expected = np.asarray(ImageOps.exif_transpose(opened))
        np.testing.assert_array_equal(_upright(image, orientation), expected)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if name == "a.webp" else {}
    path = write(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **lossless)
    assert (decode(path, 3) == [255, 0, 0]).all()


@pytest.mark.parametrize("limits", [(1,), (1, 0), (0, 0), ("a", "b"), (0, True), (0, 1, 2)])
def test_ranges_that_are_none(tmp_path, limits):
    write(tmp_path, np.zeros((4, 4), np.uint8), "a.png")
    with pytest.raises(InputError, match=r"data\.range=.*give the lowest and the highest value"):
        folder(tmp_path, range=limits)


def test_a_range_for_arrays_of_eight_bits_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 4, 4), np.uint8), labels=[0])
    with pytest.raises(InputError, match="is for images that are not uint8"):
        data.open({"name": f"npz:{tmp_path / 'a.npz'}", "range": (0, 15)}, "all")


def test_values_that_are_not_finite_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.full((1, 4, 4), np.nan), labels=[0])
    with warnings.catch_warnings(), pytest.raises(InputError, match="not finite"):
        data.open({"name": f"npz:{tmp_path / 'a.npz'}", "range": (0, 1)}, "all")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_of_tfds_are_read_by_the_dtype_of_their_feature(dtype):
    class Feature:
        np_dtype = np.dtype(dtype)

    limits = {"uint8": (0, 255), "uint16": (0, 65535), "float32": (0, 1)}[dtype]
    examples = [{"image": (RAMP * limits[1]).astype(dtype)[..., None]}]
    spec = {"channels": 1} | ({"range": limits} if dtype == "float32" else {})
    image_of, told = tfds._images("set", {"train": (examples, None)}, Feature(), "image", spec)
    assert np.abs(image_of(examples[0])[..., 0].astype(int) - EXPECTED).max() <= 1
    assert bool(told) == (dtype != "uint8")
    if dtype != "uint16":
        other = {"float32": {}, "uint8": {"range": (0, 1)}}[dtype]
        with pytest.raises(InputError, match=r"set: .*data\.range="):
            tfds._images("set", {"train": (examples, None)}, Feature(), "image", other)
