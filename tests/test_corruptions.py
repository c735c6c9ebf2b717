"""Corrupted examples are as ImageNet-C defines them, the same each time, and the worse the greater the severity."""

import cv2
import numpy as np
import pytest

from jtransfer.data import Source
from jtransfer.evaluators.corruption import corrupted
from jtransfer.modalities.image import corruptions as of_images
from jtransfer.modalities.image.modality import Image
from jtransfer.modalities.text import corruptions as of_texts
from jtransfer.modalities.text.modality import Text
from jtransfer.modalities.vector.modality import Vector

RNG = np.random.default_rng(0)
PICTURE = cv2.resize(RNG.integers(0, 256, (7, 7, 3), np.uint8), (224, 224), interpolation=cv2.INTER_CUBIC)
TEXT = "The quick brown fox jumps over the lazy dog, 7 times — Été à Zürich 猫。" * 4
VECTOR = Vector(mean=np.zeros(200, np.float32), std=np.full(200, 2.0, np.float32))


def distance(a, b):
    return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()


@pytest.mark.parametrize("how", Image.corruptions)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_the_worse_the_greater_the_severity(how, channels):
    image = PICTURE[..., :channels]
    found = [of_images.CORRUPTIONS[how](image, severity, np.random.default_rng(0)) for severity in range(1, 6)]
    assert {(one.shape, one.dtype.name) for one in found} == {(image.shape, "uint8")}
    gaps = [distance(one, image) for one in found]
    assert gaps[0] > 0
    assert gaps == sorted(gaps)


@pytest.mark.parametrize(("severity", "sigma", "factor"), [(1, 0.08, 0.4), (5, 0.38, 0.05)])
def test_strengths_are_those_of_the_benchmark(severity, sigma, factor):
    middle = np.full((300, 300, 3), 128, np.uint8)
    noisy = of_images.noise(middle, severity, np.random.default_rng(0)).astype(np.float64)
    clipped = np.clip(128 + 255 * sigma * np.random.default_rng(1).normal(size=90_000), 0, 255)
    assert noisy.std() == pytest.approx(clipped.std(), rel=0.02)
    assert (noisy[..., :1] == noisy).all()  # what is grey stays grey
    flat = of_images.contrast(PICTURE, severity, np.random.default_rng(0)).astype(np.float64)
    assert flat.std((0, 1)) == pytest.approx(factor * PICTURE.std((0, 1)), rel=0.03)
    assert flat.mean((0, 1)) == pytest.approx(PICTURE.mean((0, 1)), abs=1)


def test_a_blur_is_as_wide_for_a_small_image():
    point = np.zeros((56, 56, 1), np.uint8)
    point[28, 28] = 255
    blurred = of_images.blur(point, 5, np.random.default_rng(0)).astype(np.float64)[..., 0]
    x = np.arange(56)
    spread = (blurred.sum(0) * (x - 28) ** 2).sum() / blurred.sum()
    assert spread**0.5 == pytest.approx(6 * 56 / 224, rel=0.1)


@pytest.mark.parametrize("how", Text.corruptions)
def test_texts_are_spoilt_letter_by_letter(how):
    found = [of_texts.CORRUPTIONS[how](TEXT, severity, np.random.default_rng(0)) for severity in range(1, 6)]
    assert len(set(found)) == 5
    for severity, text in enumerate(found, 1):
        assert len(text.split()) == len(TEXT.split())
        if how == "deletion":
            kept = len(text) / len(TEXT)
            assert 1 - of_texts.SHARES[severity - 1] * 1.6 < kept < 1
        else:
            assert sorted(text.lower()) == sorted(TEXT.lower())


@pytest.mark.parametrize("text", ["", " ", "a", "猫", "🙂", "...", "I\n\nam"])
def test_any_text_can_be_spoilt(text):
    for how, change in of_texts.CORRUPTIONS.items():
        found = change(text, severity=5, rng=np.random.default_rng(0))
        assert len(found.split()) == len(text.split()), how


def test_words_that_have_a_class_each_stay_as_many():
    modality, example = Text(), {"tokens": ["Berlin", "is", "a"], "label": [1, 0, 0]}
    spoilt = modality.corrupt(example, "deletion", 5, np.random.default_rng(0))
    assert len(spoilt["tokens"]) == 3
    assert spoilt["label"] == example["label"]
    pair = modality.corrupt({"text": TEXT, "text_pair": TEXT, "label": 1}, "typos", 5, np.random.default_rng(0))
    assert pair["text"] != TEXT != pair["text_pair"]


@pytest.mark.parametrize("how", Vector.corruptions)
def test_vectors_are_spoilt_by_their_own_spread(how):
    vector = np.ones(200, np.float32)
    found = [VECTOR.corrupt({"vector": vector}, how, s, np.random.default_rng(0))["vector"] for s in range(1, 6)]
    gaps = [distance(one, vector) for one in found]
    assert gaps == sorted(gaps)
    assert found[0].dtype == np.float32
    if how == "noise":
        assert (found[4] - vector).std() == pytest.approx(1.6 * 2.0, rel=0.2)
    else:
        assert (found[4] == 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_same_example_is_spoilt_the_same_each_time():
    source = Source(3, lambda i: {"image": PICTURE, "label": i}, ["a"], lambda start, stop: np.arange(start, stop))
    one, again = (corrupted(source, Image(), "noise", 3) for _ in range(2))
    np.testing.assert_array_equal(one[1]["image"], again[1]["image"])
    assert distance(one[0]["image"], one[1]["image"]) > 1
    assert one[2]["label"] == 2
    assert distance(corrupted(source, Image(), "noise", 3, seed=1)[1]["image"], one[1]["image"]) > 1
