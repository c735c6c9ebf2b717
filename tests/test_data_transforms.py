"""Each transform's promise, and the texts that name them."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Pillow

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import transforms
from jtransfer.modalities.image.image_ops import OPS
from jtransfer.modalities.image.modality import Image
from jtransfer.training import mixing


def picture(height=20, width=30, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


EXAMPLES = {
    "augmix": "augmix",
    "flip_ud": "flip_ud",
    "gaussian_blur": "gaussian_blur(5, (0.5, 2))",
    "gaussian_noise": "gaussian_noise(0.1)",
    "random_affine": "random_affine(20, (0.1, 0.2), (0.8, 1.2), 10)",
    "random_erasing": "random_erasing(0.9, value='random')",
    "random_gray": "random_gray(0.5)",
    "random_perspective": "random_perspective(0.5, 0.9)",
    "random_rotation": "random_rotation(30)",
    "random_solarize": "random_solarize(128, 0.5)",
    "trivial_augment": "trivial_augment",
    "center_crop": "center_crop((10, 12))",
    "color_jitter": "color_jitter(0.4, 0.4, 0.4, 0.1)",
    "flip_lr": "flip_lr",
    "pad": "pad(3)",
    "randaugment": "randaugment(3, 7)",
    "random_crop": "random_crop((10, 12))",
    "random_resized_crop": "random_resized_crop((10, 12))",
    "resize": "resize((10, 12))",
    "resize_cover": "resize_cover((10, 12))",
    "resize_crop": "resize_crop((10, 12))",
    "resize_fit": "resize_fit((10, 12))",
    "resize_short": "resize_short(10)",
    "to_gray": "to_gray",
}


@pytest.mark.parametrize("name", sorted(OPS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_transform_keeps_type_channels_and_input(name, channels):
    pipeline, image = transforms.parse(EXAMPLES[name]), picture(channels=channels)
    image.flags.writeable = False
    looks = set()
    for seed in range(20):
        out = pipeline.host(image, rng(seed))
        assert out.dtype == np.uint8
        assert out.shape[2] == channels
        np.testing.assert_array_equal(out, pipeline.host(image, rng(seed)))
        looks.add(out.tobytes())
        wider = transforms.parse(f"resize((25, 37))|{EXAMPLES[name]}")
        assert wider.size in (None, wider.host(image, rng(seed)).shape[:2])
    assert (len(looks) > 1) == OPS[name].random == pipeline.random or (name, channels) == ("random_gray", 1)
    assert (pipeline.size is None) == (OPS[name].extent != "set")


def test_a_pipeline_applies_its_parts_in_order_and_leaves_normalize_to_the_device():
    pipeline = transforms.parse("resize(16)|random_crop(12)|pad(2)|normalize('imagenet')")
    assert pipeline.host(picture(), rng()).shape == (16, 16, 3)
    assert pipeline.size == (16, 16)
    assert pipeline.random
    assert pipeline.mean == (0.485, 0.456, 0.406)
    assert pipeline.std == (0.229, 0.224, 0.225)
    example = pipeline({"image": picture(), "label": 3}, rng())
    assert example["label"] == 3
    assert example["inputs"].shape == (16, 16, 3)


def test_an_empty_text_changes_nothing():
    pipeline = transforms.parse("")
    np.testing.assert_array_equal(pipeline.host(picture()), picture())
    assert (pipeline.mean, pipeline.std, pipeline.random, pipeline.size) == ((0.0,), (1.0,), False, None)


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("normalize('inception')", (0.5,) * 3, (0.5,) * 3),
        ("normalize(((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ("normalize((0.5, 0.25))", (0.5,), (0.25,)),
        ("normalize(([0, 0, 0], 1))", (0.0, 0.0, 0.0), (1.0,)),
    ],
)
def test_normalize_takes_names_and_numbers(text, mean, std):
    pipeline = transforms.parse(text)
    assert (pipeline.mean, pipeline.std) == (mean, std)


def test_deterministic_replaces_chance():
    text = "resize(20)|random_crop(16)|flip_lr|color_jitter(0.2)|randaugment(2, 5)|to_gray|normalize('clip')"
    still = transforms.parse(text).deterministic()
    assert not still.random
    assert still.mean == transforms.parse(text).mean
    expected = transforms.parse("resize(20)|center_crop(16)|to_gray")
    np.testing.assert_array_equal(still.host(picture()), expected.host(picture()))
    crop = transforms.parse("random_resized_crop(16, scale=(0.5, 1), method='bicubic')").deterministic()
    np.testing.assert_array_equal(crop.host(picture()), transforms.parse("resize_crop(16, 'bicubic')").host(picture()))


def test_pipelines_are_pickled_and_compared_by_their_text():
    pipeline = transforms.parse("resize(16)|random_crop(12)|normalize('imagenet')")
    again = pickle.loads(pickle.dumps(pipeline))
    assert again == pipeline == transforms.parse(pipeline.text)
    assert hash(again) == hash(pipeline)
    np.testing.assert_array_equal(again.host(picture(), rng()), pipeline.host(picture(), rng()))


def test_resize_short_keeps_the_aspect():
    assert transforms.parse("resize_short(10)").host(picture(20, 31)).shape == (10, 15, 3)
    assert transforms.parse("resize_short(10)").host(picture(31, 20)).shape == (15, 10, 3)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_pillow_resizes_as_pillow_does(method):
    codes = {"area": "BOX"}
    code = Pillow.Resampling[codes.get(method, method.upper())]
    expected = np.asarray(Pillow.fromarray(picture()).resize((9, 7), code))
    got = transforms.parse(f"resize((7, 9), {method!r}, library='pillow')").host(picture())
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("library", ["opencv", "pillow"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_resizing_keeps_a_flat_image_flat_and_a_ramp_a_ramp(library, method):
    flat = np.full((20, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(transforms.parse(f"resize(8, {method!r}, {library!r})").host(flat), 77)
    ramp = np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], 20, axis=0)
    out = transforms.parse(f"resize((5, 10), {method!r}, {library!r})").host(ramp)[2, :, 0].astype(float)
    centres = (np.arange(10) + 0.5) * 3 * 8 - 4
    np.testing.assert_allclose(out, centres, atol=3)


def test_crops_are_windows_of_the_image():
    image = picture()
    windows = {image[y : y + 10, x : x + 12].tobytes(): (y, x) for y in range(11) for x in range(19)}
    assert windows[transforms.parse("center_crop((10, 12))").host(image).tobytes()] == (5, 9)
    seen = {windows[transforms.parse("random_crop((10, 12))").host(image, rng(s)).tobytes()] for s in range(1500)}
    assert {y for y, _ in seen} == set(range(11))
    assert {x for _, x in seen} == set(range(19))


def test_crops_larger_than_the_image_say_so():
    for name in ("random_crop", "center_crop"):
        with pytest.raises(InputError, match=rf"{name}\(21, 21\): the image is only 20×30"):
            transforms.parse(f"{name}(21)").host(picture(), rng())


def test_flip_is_an_involution_and_happens_at_its_rate():
    image = picture()
    always = transforms.parse("flip_lr(1)")
    np.testing.assert_array_equal(always.host(image, rng()), image[:, ::-1])
    np.testing.assert_array_equal(transforms.parse("flip_lr(0.0)").host(image, rng()), image)
    g = rng()
    flips = sum(not np.array_equal(transforms.parse("flip_lr(0.25)").host(image, g), image) for _ in range(1000))
    assert 200 < flips < 300


def test_random_resized_crop_covers_the_promised_area():
    rows, columns = np.mgrid[0:200, 0:250].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=2)
    crop = transforms.parse("random_resized_crop(50, scale=(0.2, 0.6), method='nearest')")
    for seed in range(100):
        out = crop.host(image, rng(seed)).astype(int)
        height, width = (np.ptp(out[..., 0]) + 1) * 50 / 49, (np.ptp(out[..., 1]) + 1) * 50 / 49
        assert 0.18 < height * width / image[..., 0].size < 0.64
        assert 0.70 < width / height < 1.42


def test_random_resized_crop_of_a_strip_falls_back_to_the_centre():
    image = picture(4, 400)
    out = transforms.parse("random_resized_crop((4, 5), scale=(1, 1))").host(image, rng())
    np.testing.assert_array_equal(out, image[:, 197:202])


def test_pad_and_gray():
    image = picture()
    padded = transforms.parse("pad(2, 9)").host(image)
    np.testing.assert_array_equal(padded[2:-2, 2:-2], image)
    assert (padded[:2] == 9).all()
    assert (padded[:, -2:] == 9).all()
    np.testing.assert_array_equal(transforms.parse("pad(2, 'reflect')").host(image)[0, 2:-2], image[2])
    gray = transforms.parse("to_gray").host(image)
    assert (gray == gray[..., :1]).all()
    np.testing.assert_allclose(gray[..., 0], image @ [0.299, 0.587, 0.114], atol=0.51)


@pytest.mark.parametrize(
    ("text", "unchanged"),
    [
        ("color_jitter(brightness=0.5)", lambda x: x.astype(float).mean((0, 1)) / x.mean()),
        ("color_jitter(contrast=0.5)", lambda x: np.round(x.mean() / 6)),
        ("color_jitter(saturation=0.5)", lambda x: np.round(x @ np.array([0.299, 0.587, 0.114]) / 6)),
        ("color_jitter(hue=0.5)", lambda x: x.max(2) // 6),
    ],
)
def test_color_jitter_changes_one_thing_alone(text, unchanged):
    image = (picture() // 4 + 80).astype(np.uint8)
    out = transforms.parse(text).host(image, rng(1))
    assert (out != image).any()
    np.testing.assert_allclose(unchanged(out), unchanged(image), atol=1.01, rtol=0.02)


def test_color_jitter_of_nothing_is_nothing():
    np.testing.assert_array_equal(transforms.parse("color_jitter()").host(picture(), rng()), picture())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resise(3)", "unknown transform 'resise'; nearest: resize"),
        ("resize(3)|flips", "unknown transform 'flips'; nearest: .*flip"),
        ("resize", r"missing a required argument: 'size'; it is resize\(size, method='bilinear', library='pillow'\)"),
        ("resize(3, speed=2)", r"unexpected keyword argument 'speed'; it is resize\(size,"),
        ("resize(3, 'bilinaer')", "unknown method 'bilinaer'; nearest: bilinear"),
        ("resize(3, library='cv')", "unknown library 'cv'"),
        ("resize(0)", "size=0 must be a positive whole number"),
        ("resize((3, 'a'))", "size='a' must be"),
        ("resize(3.5)", "size=3.5"),
        ("resize(True)", "size=True"),
        ("resize(x)", "plain numbers"),
        ("resize(1 + 1)", "plain numbers"),
        ("resize(__import__('os').getpid())", "plain numbers"),
        ("resize(*[3])", "plain numbers"),
        ("resize(**{'size': 3})", "keywords must be strings|plain"),
        ("().__class__", "is not name or name"),
        ("resize(3)(4)", "is not name or name"),
        ("lambda: 0", "is not name or name"),
        ("resize(3)||flip_lr", "cannot be parsed"),
        ("resize(3", "cannot be parsed"),
        ("resize(3); flip_lr", "cannot be parsed"),
        ("|", "cannot be parsed"),
        ("\0", "cannot be parsed"),
        ("(" * 5000, "cannot be parsed"),
        ("resize(3) or flip_lr", "is not name or name"),
        ("resize(3)&flip_lr", "is not name or name"),
        ("normalize('imagenet')|resize(3)", "must come last"),
        ("normalize('clip')|normalize('clip')", "must come last, and once"),
        ("normalize", r"it is normalize\(statistics\)"),
        ("normalize('imagnet')", "unknown statistics 'imagnet'; nearest: imagenet"),
        ("normalize(((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)))", "divide"),
        ("normalize((0.5, 0))", "normalize"),
        ("normalize(3)", "normalize"),
        ("normalize((0.5, 'a'))", "normalize"),
        ("random_resized_crop(8, scale=(1, 0.5))", "scale="),
        ("random_resized_crop(8, ratio=2)", "ratio="),
        ("flip_lr(2)", "p=2 must be between 0 and 1"),
        ("color_jitter(hue=0.7)", "hue=0.7 must be 0 or more, at most 0.5"),
        ("color_jitter('a')", "color_jitter"),
        ("randaugment(0)", "n=0"),
        ("randaugment(2, 11)", "m=11"),
        ("pad(2, 300)", "value=300"),
        ("resize(3, method=[1])", "resize"),
    ],
)
def test_wrong_texts_say_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message):
        transforms.parse(text)


def batch(size=4):
    images = jax.random.randint(jax.random.key(1), (size, 16, 12, 3), 0, 256).astype(jnp.uint8)
    return images, jax.nn.one_hot(jnp.arange(size) % 3, 3)


def test_mixup_weights_images_and_labels_alike():
    images, labels = batch()
    mixed, mixed_labels = mixing.mixup(jax.random.key(0), images, labels, 0.4)
    assert mixed.dtype == jnp.float32
    lam = mixed_labels[1, 1]
    np.testing.assert_allclose(mixed_labels[1], [1 - lam, lam, 0], rtol=1e-6)
    np.testing.assert_allclose(mixed_labels.sum(1), 1, rtol=1e-6)
    before = np.roll(images, 1, axis=0).astype(np.float32)
    np.testing.assert_allclose(mixed, lam * images + (1 - lam) * before, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(mixed.mean(0), images.astype(jnp.float32).mean(0), rtol=1e-5)


def test_cutmix_weights_labels_by_the_pixels_that_came():
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 12, 3), np.uint8)
    run = jax.jit(mixing.cutmix, static_argnames="alpha")
    shares = []
    for seed in range(40):
        mixed, labels = jax.device_get(run(jax.random.key(seed), images, np.eye(4, dtype=np.float32), alpha=1.0))
        own = (mixed == images).all(3)
        assert mixed.dtype == np.uint8
        assert (own == own[0]).all()
        np.testing.assert_array_equal(mixed, np.where(own[..., None], images, np.roll(images, 1, axis=0)))
        np.testing.assert_allclose(
            labels, own.mean() * np.eye(4) + (1 - own.mean()) * np.eye(4)[[3, 0, 1, 2]], atol=1e-6
        )
        rows, columns = np.flatnonzero(~own[0].all(1)), np.flatnonzero(~own[0].all(0))
        assert (~own[0]).sum() == len(rows) * len(columns)
        assert len(rows) == 0 or (np.ptp(rows) + 1, np.ptp(columns) + 1) == (len(rows), len(columns))
        shares.append(own.mean())
    assert min(shares) < 0.5
    assert max(shares) > 0.9


def test_mixing_needs_a_positive_alpha():
    images, labels = batch()
    for mix in (mixing.mixup, mixing.cutmix):
        with pytest.raises(InputError, match="alpha > 0"):
            mix(jax.random.key(0), images, labels, 0.0)


def test_the_library_that_resizes_is_the_config_s_where_the_transform_does_not_say_it():
    text = "resize(6)|resize(5, library='pillow')"
    opencv = transforms.parse("resize(6, library='opencv')|resize(5, library='pillow')")
    kind = Image(transform=text, image_library="opencv")
    assert kind.pipeline(None, train=True).host_text == opencv.host_text
    assert pickle.loads(pickle.dumps(kind.pipeline(None, train=False))).host_text == opencv.host_text
    expected = np.asarray(Pillow.fromarray(picture()).resize((6, 6), Pillow.Resampling.BILINEAR))
    np.testing.assert_array_equal(transforms.parse("resize(6)").host(picture()), expected)
    usual = Image(image_library="opencv").pipeline(models.create("resnet18"), train=True)
    assert "library='opencv'" in usual.host_text
