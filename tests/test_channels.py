"""Images of other numbers of channels than three and one: arrays of many bands, and files with transparency."""

import numpy as np
import pytest
from PIL import Image

from jtransfer import config as configs
from jtransfer import data, runs, train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import pixels, transforms

BANDS = 12


def images(channels=BANDS, n=24, side=16):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    x = rng.integers(0, 100, (n, side, side, channels), np.uint8)
    x[np.arange(n), :, :, labels * (channels // 3)] += 120
    return x, labels


def config_of(tmp_path, x, labels):
    np.savez(tmp_path / "bands.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    config = configs.default()
    config.data.name, config.data.channels = f"npz:{tmp_path}/bands.npz", BANDS
    config.data.transform = "pad(2)|random_crop(16)|flip_lr|resize(12)"
    config.batch_size = config.eval_batch_size = 8
    config.optim.lr = 1e-2
    return config


@pytest.mark.parametrize("last", [True, False], ids=["NHWC", "NCHW"])
def test_a_run_on_many_bands(tmp_path, capsys, last):
    """The bands are mixed into the three channels of a model of images, and what is predicted is right."""
    x, labels = images()
    config = config_of(tmp_path, x if last else np.moveaxis(x, 3, 1), labels)
    config.model.name = "compose"
    config.model.fields = {
        "source": {"name": "channels", "image_size": 12},
        "adapter": 0,
        "target": {"name": "resnet18", "image_size": 12, "widths": (4, 4, 8, 8), "depths": (1, 1, 1, 1)},
        "cut": "pool",
    }
    config.phases = [configs.phase("train", steps=12)]
    train.run(config, tmp_path / "run")
    told = capsys.readouterr().out
    assert "images of 12 channels are normalised by the averages of what the weights say of 3, mean" in told
    found = trees.flatten(runs.open(tmp_path / "run").variables()["params"])
    assert [kernel.shape for path, kernel in found.items() if path.endswith("mix/dense/kernel")] == [(BANDS, 3)]


def test_one_pixel_of_each_band_is_where_it_was():
    x, _ = images(n=1, side=8)
    source = x[0]
    for text in ("resize(4, library='pillow')", "resize(4, library='opencv')", "pad(2, 7)", "center_crop(12, 3)"):
        whole = transforms.parse(text).host(source)
        assert whole.shape[2] == BANDS
        for band in (0, 5, 11):
            alone = transforms.parse(text).host(source[..., [band]])
            np.testing.assert_allclose(whole[..., [band]].astype(int), alone.astype(int), atol=1)  # OpenCV rounds


def test_transparency_is_kept_where_it_is_asked_for(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 255, (5, 6, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels.decode(str(tmp_path / "a.png"), 4), rgba)
    assert pixels.decode(str(tmp_path / "a.png"), 3).shape == (5, 6, 3)
    resized = transforms.parse("resize(3)").host(rgba)
    np.testing.assert_array_equal(resized[..., :1], transforms.parse("resize(3)").host(rgba[..., :1]))


def test_other_channels_than_the_images_have_are_one_line(tmp_path):
    x, labels = images(channels=6)
    with pytest.raises(InputError, match=r"have 6 channels, and data.channels=12 are asked for; set data.channels=6"):
        train.run(config_of(tmp_path, x, labels), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"set data\.channels=6"):
        data.open({"name": f"npz:{tmp_path}/bands.npz"}, "train")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: an image \[4, 4, 3\] has 3 channels, and data.channels=4"):
        pixels.decode(str(tmp_path / "a.png"), 4)


def test_operations_on_colours_are_refused(tmp_path):
    x, labels = images()
    config = config_of(tmp_path, x, labels)
    config.data.transform = "randaugment(2, 5)"
    with pytest.raises(InputError, match=r"randaugment is for images of 3 channels or 1, and data\.channels=12"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
