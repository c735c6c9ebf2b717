"""What each augmentation does to pixels, by closed forms, Pillow and torchvision; and other libraries' names."""

import numpy as np
import pytest
from PIL import Image as Pillow

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import geometry_ops, mixed_augments, named_ops, transforms
from jtransfer.modalities.image.image_ops import ALIASES, OPS, named
from jtransfer.modalities.image.modality import Image

NEAREST, BILINEAR = Pillow.Resampling.NEAREST, Pillow.Resampling.BILINEAR


def picture(height=20, width=30, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def host(text, image, seed=0):
    return transforms.parse(text).host(image, np.random.default_rng(seed))


NEW = {
    "flip_ud(1)": (1, 3, 4, 7),
    "random_rotation(30)": (1, 3, 4, 7),
    "random_affine(20, (0.1, 0.2), (0.8, 1.2), 10)": (1, 3, 4, 7),
    "random_perspective(0.5, 1)": (1, 3, 4, 7),
    "random_erasing(1)": (1, 3, 4, 7),
    "random_erasing(1, value='random')": (1, 3, 4, 7),
    "gaussian_blur(5, 1.0)": (1, 3, 4, 7),
    "gaussian_noise(0.1)": (1, 3, 4, 7),
    "trivial_augment": (1, 3),
    "augmix": (1, 3),
    "random_gray(1)": (1, 3),
    "random_solarize(128, 1)": (1, 3),
}


@pytest.mark.parametrize("text", NEW)
@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_channels_are_each_changed_alike_or_refused(text, channels):
    pipeline = transforms.parse(text)
    if channels not in NEW[text]:
        with pytest.raises(InputError, match=f"is for images of 3 channels or 1, and data.channels={channels}"):
            Image(channels=channels, transform=text).pipeline(None, train=True)
        return
    Image(channels=channels, transform=text).pipeline(None, train=True)
    image = picture(channels=channels)
    out = pipeline.host(image, np.random.default_rng(1))
    assert (out.dtype, out.shape) == (np.uint8, image.shape)
    if channels == 7 and "noise" not in text and "random'" not in text:
        same = np.repeat(image[..., :1], 7, 2)
        moved = pipeline.host(same, np.random.default_rng(1))
        np.testing.assert_array_equal(moved, np.repeat(moved[..., :1], 7, 2))


def test_flip_ud():
    np.testing.assert_array_equal(host("flip_ud(1)", picture()), picture()[::-1])
    np.testing.assert_array_equal(host("flip_ud(0)", picture()), picture())
    flips = [np.array_equal(host("flip_ud(0.25)", picture(), seed), picture()) for seed in range(400)]
    assert 0.18 < 1 - np.mean(flips) < 0.32


def test_a_quarter_turn_is_exact_and_anticlockwise():
    image = picture(24, 24)
    np.testing.assert_array_equal(host("random_rotation((90, 90), 'nearest')", image), np.rot90(image))
    turned = Pillow.fromarray(image).rotate(30, BILINEAR)
    np.testing.assert_array_equal(host("random_rotation((30, 30))", image), np.asarray(turned))


@pytest.mark.parametrize(("degrees", "range_"), [("25", (-25, 25)), ("(10, 20)", (10, 20))])
def test_angles_are_drawn_from_their_range(degrees, range_, monkeypatch):
    seen = []
    original = geometry_ops.inverse_affine
    monkeypatch.setattr(
        geometry_ops, "inverse_affine", lambda c, angle, *a: seen.append(-angle) or original(c, angle, *a)
    )
    for seed in range(200):
        host(f"random_rotation({degrees})", picture(), seed)
    width = range_[1] - range_[0]
    assert range_[0] <= min(seen) < range_[0] + width / 10
    assert range_[1] - width / 10 < max(seen) <= range_[1]


def test_a_move_and_a_scale():
    image = picture(20, 30)
    move = geometry_ops.mover("nearest", 9)
    out = move(image, Pillow.Transform.AFFINE, geometry_ops.inverse_affine((15, 10), 0, (4, -3), 1, 0))
    np.testing.assert_array_equal(out[:17, 4:], image[3:, :26])
    assert (out[17:] == 9).all()
    assert (out[:, :4] == 9).all()
    double = move(image, Pillow.Transform.AFFINE, geometry_ops.inverse_affine((15, 10), 0, (0, 0), 2, 0))
    np.testing.assert_array_equal(double, np.repeat(np.repeat(image[5:15], 2, 0), 2, 1)[:, 15:45])


def test_corners_go_where_they_are_sent():
    corners = np.array([(0, 0), (29, 0), (29, 19), (0, 19)], float)
    moved = np.array([(3, 2), (25, 4), (27, 15), (1, 18)], float)
    a, b, c, d, e, f, g, h = geometry_ops.perspective(corners, moved)
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        below = g * u + h * v + 1
        np.testing.assert_allclose([(a * u + b * v + c) / below, (d * u + e * v + f) / below], [x, y], atol=1e-9)
    np.testing.assert_array_equal(host("random_perspective(0, 1, 'nearest')", picture()), picture())


def test_erasing_covers_one_part_of_the_promised_area():
    image = np.zeros((50, 80, 3), np.uint8)
    for seed in range(100):
        covered = host("random_erasing(1, (0.1, 0.2), (0.5, 2), 7)", image, seed)[..., 0] == 7
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        assert covered.sum() == len(rows) * len(columns)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (len(rows), len(columns))
        assert 0.09 < covered.mean() < 0.22
        assert 0.45 < len(rows) / len(columns) < 2.2
    assert (host("random_erasing(1, value=(1, 2, 3))", image).reshape(-1, 3).max(0) == (1, 2, 3)).all()
    noisy = host("random_erasing(1, (0.3, 0.3), value='random')", image)
    assert len(np.unique(noisy)) > 200
    with pytest.raises(InputError, match="not for images of 1 channels"):
        host("random_erasing(1, value=(1, 2, 3))", image[..., :1])


def test_noise_has_its_deviation_and_blur_keeps_the_mean():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = host("gaussian_noise(0.1)", grey).astype(float) - 128
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 25.5], atol=0.4)
    dot = np.zeros((41, 41, 1), np.uint8)
    dot[20, 20] = 255
    x = np.arange(-3, 4)
    kernel = np.exp(-(x**2) / (2 * 1.5**2)) / np.exp(-(x**2) / (2 * 1.5**2)).sum()
    expected = 255 * np.outer(kernel, kernel)
    np.testing.assert_allclose(host("gaussian_blur(7, 1.5)", dot)[17:24, 17:24, 0], expected, atol=1)


def test_solarize_and_gray():
    image = picture()
    expected = np.where(image < 100, image, 255 - image)
    np.testing.assert_array_equal(host("random_solarize(100, 1)", image), expected)
    np.testing.assert_array_equal(host("random_gray(1)", image), host("to_gray", image))
    np.testing.assert_array_equal(host("random_gray(0)", image), image)
    np.testing.assert_array_equal(host("color_jitter(0.9, p=0.0)", image), image)


def test_strengths_of_the_papers():
    assert [mixed_augments.wide(name, 30) for name in ("shear_x", "translate_y", "rotate", "brightness")] == [
        0.99, 32.0, 135.0, 0.99,
    ]  # fmt: skip
    assert [mixed_augments.wide("posterize", level) for level in (0, 15, 30)] == [8, 5, 2]
    assert [mixed_augments.wide("solarize", level) for level in (0, 30)] == [255, 0]
    assert mixed_augments.severe("translate_x", 9, (60, 90)) == 30
    assert mixed_augments.severe("translate_y", 9, (60, 90)) == 20
    assert [mixed_augments.severe("posterize", level, (9, 9)) for level in (0, 9)] == [4, 0]


def test_trivial_augment_draws_each_operation_as_often(monkeypatch):
    counted = dict.fromkeys(named_ops.OPERATIONS, 0)

    def counting(name):
        def count(picture, strength, method):
            counted[name] += 1
            return picture

        return count

    monkeypatch.setattr(mixed_augments, "OPERATIONS", {name: counting(name) for name in counted})
    rng = np.random.default_rng(0)
    op = transforms.parse("trivial_augment")
    for _ in range(1400):
        op.host(picture(4, 4), rng)
    assert min(counted.values()) > 60
    assert max(counted.values()) < 145


def test_augmix_of_a_flat_image_without_colours_at_least_strength_stays_near():
    image = np.full((20, 20, 3), 90, np.uint8)
    for seed in range(20):
        assert np.abs(host("augmix(1, colours=False)", image, seed).astype(int) - 90).max() <= 90
    smooth = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[:, None, None], 20, 1).repeat(3, 2)
    assert any((host("augmix", smooth, seed) != smooth).any() for seed in range(3))


ALIAS_CASES = {
    "RandomHorizontalFlip": "flip_lr", "random_flip": "flip_lr", "hflip": "flip_lr", "HorizontalFlip": "flip_lr",
    "RandomFlip": "flip_lr", "RandomVerticalFlip": "flip_ud", "vflip": "flip_ud", "RandomErasing": "random_erasing",
    "GaussianBlur": "gaussian_blur", "GaussianNoise": "gaussian_noise", "RandomPerspective": "random_perspective",
    "RandomRotation": "random_rotation", "RandomAffine": "random_affine", "RandomGrayscale": "random_gray",
    "ColorJitter": "color_jitter", "RandAugment": "randaugment", "rand_augment": "randaugment", "AugMix": "augmix",
    "TrivialAugmentWide": "trivial_augment", "trivial_augment_wide": "trivial_augment",
    "RandomSolarize": "random_solarize", "RandomResizedCrop": "random_resized_crop", "CenterCrop": "center_crop",
    "RandomCrop": "random_crop", "Pad": "pad", "Grayscale": "to_gray", "grayscale": "to_gray",
}  # fmt: skip


@pytest.mark.parametrize("alias", ALIAS_CASES)
def test_usual_names_stand_for_ours(alias):
    arguments = {
        "RandomResizedCrop": "(8)",
        "CenterCrop": "(8)",
        "RandomCrop": "(8)",
        "Pad": "(2)",
        "RandomRotation": "(9)",
    }
    text = f"resize(16)|{alias}{arguments.get(alias, '')}"
    assert transforms.parse(text).calls[1].name == ALIAS_CASES[alias] == named(alias)
    assert alias not in transforms.parse(text).host_text


def test_aliases_stand_for_ops_and_hide_none():
    assert set(ALIASES.values()) <= set(OPS)
    assert not set(ALIASES) & set(OPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resize(8)", "unknown transform 'Resize'; nearest: resize"),
        ("random_erasng", "unknown transform 'random_erasng'; nearest: random_erasing"),
        ("trivial_augmnt", "nearest: trivial_augment"),
        ("flip_ud(2)", "p=2 must be between 0 and 1"),
        ("flip_ud(True)", "p=True must be"),
        ("random_erasing(0.5, (0, 1))", r"scale=\(0, 1\) must be \(low, high\) with 0 < low <= high <= 1"),
        ("random_erasing(value=256)", "value=256"),
        ("random_erasing(value='mean')", "value='mean'"),
        ("gaussian_blur(4)", "kernel_size=4 must be a positive odd"),
        ("gaussian_blur(5, 0)", "sigma="),
        ("gaussian_noise(-1)", "sigma="),
        ("random_rotation", "missing a required argument: 'degrees'"),
        ("random_rotation(400)", "degrees="),
        ("random_rotation('a')", "degrees="),
        ("random_rotation((20, 10))", "degrees="),
        ("random_rotation(5, 'lanczos')", "unknown method 'lanczos'"),
        ("random_affine(5, 0.1)", "translate=0.1"),
        ("random_affine(5, scale=(0, 1))", "scale="),
        ("random_affine(5, shear=90)", "shear="),
        ("random_affine(5, fill=300)", "fill=300"),
        ("random_perspective(1.5)", "distortion="),
        ("augmix(0)", "severity=0"),
        ("augmix(11)", "severity=11"),
        ("augmix(width=0)", "width=0"),
        ("augmix(alpha=0)", "alpha=0"),
        ("random_solarize(300)", "threshold=300"),
        ("trivial_augment(3)", "too many positional"),
        ("color_jitter(p=2)", "p=2"),
    ],
)
def test_wrong_texts_say_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message):
        transforms.parse(text)


def test_nothing_random_is_left_for_evaluation():
    text = "resize(16)|" + "|".join(text for text in NEW if "gray" not in text)
    assert transforms.parse(text).deterministic().host_text == transforms.parse("resize(16)").host_text


def test_batches_are_the_same_bits_from_any_step_and_with_any_threads():
    images = [picture(12, 14, seed=i) for i in range(10)]
    source = data.Source(10, lambda i: {"image": images[i], "label": 0}, ["a"], lambda a, b: np.zeros(b - a, np.int32))
    text = "|".join(text for text in NEW if "gray" not in text)
    transform = transforms.parse(text)

    def batches(start, threads):
        made = data.train_batches(source, transform, 4, seed=3, start=start, threads=threads)
        return [next(made)["inputs"] for _ in range(6 - start)]

    whole = batches(0, 1)
    for resumed, batch in zip(batches(2, 3), whole[2:], strict=True):
        np.testing.assert_array_equal(resumed, batch)
    assert not np.array_equal(whole[0], whole[3])


@pytest.mark.live
@pytest.mark.parametrize("name", named_ops.OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_torchvision_s(name, channels):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.autoaugment import _apply_op

    theirs = {"autocontrast": "AutoContrast"}.get(name, "".join(part.capitalize() for part in name.split("_")))
    image = picture(24, 33, channels)
    given = Pillow.fromarray(image[..., 0] if channels == 1 else image)
    strengths = {"posterize": (2, 5, 8), "solarize": (0, 100, 255), "rotate": (-40.0, 12.5), "translate_x": (-5.5, 8)}
    for strength in strengths.get(name, (-0.7, 0.0, 0.3) if "translate" not in name else (-5.5, 8)):
        for ours, mode in ((NEAREST, InterpolationMode.NEAREST), (BILINEAR, InterpolationMode.BILINEAR)):
            expected = np.asarray(_apply_op(given, theirs, strength, mode, None))
            found = np.asarray(named_ops.OPERATIONS[name](given, strength, ours))
            np.testing.assert_allclose(found.astype(int), expected, atol=int("shear" in name))


@pytest.mark.live
def test_geometry_and_blur_are_torchvision_s():
    import torch
    from torchvision.transforms import functional

    image = picture(24, 33)
    given, move = Pillow.fromarray(image), geometry_ops.mover("bilinear", 7)
    mode = functional.InterpolationMode.BILINEAR
    for angle, shift, scale, shear in ((20, (3, -2), 1.2, 0), (-15, (0, 0), 0.8, 12.0), (0, (1, 5), 1, -20.0)):
        expected = functional.affine(given, angle, list(shift), scale, [shear, 0.0], mode, fill=[7, 7, 7])
        matrix = geometry_ops.inverse_affine((16.5, 12.0), angle, shift, scale, shear)
        difference = move(image, Pillow.Transform.AFFINE, matrix).astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1
    corners, moved = [[0, 0], [32, 0], [32, 23], [0, 23]], [[3, 2], [28, 4], [30, 20], [1, 22]]
    expected = functional.perspective(given, corners, moved, mode, fill=[7, 7, 7])
    ours = move(image, Pillow.Transform.PERSPECTIVE, geometry_ops.perspective(np.array(corners, float), moved))
    assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    blurred = functional.gaussian_blur(tensor, [5, 5], [1.3, 1.3]).numpy().transpose(1, 2, 0)
    assert np.abs(host("gaussian_blur(5, 1.3)", image).astype(int) - blurred).max() <= 1


@pytest.mark.live
def test_strengths_are_torchvision_s():
    from torchvision.transforms.autoaugment import AugMix, TrivialAugmentWide

    names = {"autocontrast": "AutoContrast"}
    spaces = TrivialAugmentWide()._augmentation_space(31), AugMix()._augmentation_space(10, (60, 90))
    ours = mixed_augments.wide, lambda name, level: mixed_augments.severe(name, level, (60, 90))
    for space, strength, levels in zip(spaces, ours, (31, 10), strict=True):
        for name in named_ops.OPERATIONS:
            theirs = names.get(name, "".join(part.capitalize() for part in name.split("_")))
            if theirs in space:
                values, signed = space[theirs]
                assert signed == (name in named_ops.SIGNED)
                expected = values.numpy() if values.ndim else np.zeros(levels)
                np.testing.assert_allclose([strength(name, level) for level in range(levels)], expected, atol=1e-4)
