"""Test-time augmentation: predictions and metrics of averages over views of each image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_predict import MEAN, STD, run  # noqa: F401

from jtransfer import data, evaluate, predict
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.tasks import averages
from jtransfer.training import checkpoint

EARLIER = Path(__file__).parent / "references" / "earlier"


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def flipped(run):  # noqa: F811
    """Probabilities of the images of a run by its linear model, means of those of an image and of its mirror image."""
    dense = checkpoint.load_params(run[0])["params"]["Dense_0"]
    images = [Image.open(path).resize((12, 12), Image.Resampling.BILINEAR) for path in run[1]]
    return averaged(np.stack([np.asarray(image) for image in images]), dense)


def averaged(images, dense):
    views = [(x / 255 - MEAN) / STD for x in (images, images[:, :, ::-1])]
    return np.mean([softmax(x.reshape(len(x), -1) @ dense["kernel"] + dense["bias"]) for x in views], 0)


def test_predictions_are_averaged_over_views(run):  # noqa: F811
    predictor = predict.load(run[0], tta="flip_lr")
    np.testing.assert_allclose(predictor(run[1])["probs"], flipped(run), rtol=1e-4, atol=1e-6)


def test_an_evaluation_says_what_the_views_change(run, capsys):  # noqa: F811
    measured = evaluate.evaluate(run[0], tta="flip_lr")
    assert measured.metrics == evaluate.evaluate(run[0]).metrics
    source = data.open({"name": "embedded:fashion_mnist"}, "test[:16]")
    small = [Image.fromarray(source[i]["image"]).resize((12, 12), Image.Resampling.BILINEAR) for i in range(16)]
    probs = averaged(np.stack(small), checkpoint.load_params(run[0])["params"]["Dense_0"])
    np.testing.assert_allclose(measured.averaged["accuracy"], np.mean(probs.argmax(1) == source.labels), rtol=1e-6)
    np.testing.assert_allclose(measured.averaged["loss"], -np.log(probs[range(16), source.labels]).mean(), rtol=1e-4)
    run_command(evaluate.main, ["evaluate", str(run[0]), "--tta=flip_lr"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[0] == "loss")
    assert line.split()[1:] == [f"{values['loss']:.4f}" for values in (measured.metrics, measured.averaged)]


@pytest.mark.parametrize(
    ("tta", "transform", "expected"),
    [
        ("flip_lr", "resize(4)", [np.s_[:], np.s_[:, ::-1]]),
        ("flip_ud", "resize(4)", [np.s_[:], np.s_[::-1]]),
        ("flip_ud|flip_lr", "resize(4)", [np.s_[:], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]]),
        ("five_crop", "center_crop(2)", [np.s_[1:3, 1:3], np.s_[:2, :2], np.s_[:2, 2:], np.s_[2:, :2], np.s_[2:, 2:]]),
    ],
)
def test_views_are_parts_of_an_image(tta, transform, expected, run):  # noqa: F811
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    own = predict.load(run[0], eval_transform=transform).run
    views = own.modality.make_views(tta, own.task, own.model)
    for view, part in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view({"image": image})["inputs"], image[part])


def test_random_views_are_the_same_each_time(run):  # noqa: F811
    own = predict.load(run[0]).run
    views = own.modality.make_views("random(6)|rot90", own.task, own.model)
    image = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    once, again = ([view({"image": image})["inputs"] for view in views] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert len(once) == 24
    assert len({view.tobytes() for view in once}) == 8  # flips and rotations


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_averages_are_those_of_probabilities(temperature):
    views = np.random.default_rng(0).normal(0, 5, (3, 4, 5)).astype(np.float32)
    probs = softmax(views / temperature).mean(0)
    np.testing.assert_allclose(softmax(averages.classes(views, temperature) / temperature), probs, rtol=1e-5)
    single = (1 / (1 + np.exp(-views / temperature))).mean(0)
    found = 1 / (1 + np.exp(-np.asarray(averages.several(views, temperature)) / temperature))
    np.testing.assert_allclose(found, single, rtol=1e-5)
    np.testing.assert_allclose(averages.numbers(views, temperature), views.mean(0), rtol=1e-5, atol=1e-6)


def test_texts_have_no_views():
    refused = {"texts": "views of images, and these are texts", "translations": "has no average over views"}
    for name, says in refused.items():
        with pytest.raises(InputError, match=says):
            predict.load(EARLIER / name, tta="flip_lr")
        with pytest.raises(InputError, match=says):
            evaluate.evaluate(EARLIER / name, tta="flip_lr")
