"""Predictions of a run: by hand, from its parameters; the model is loaded and compiled once for any number of calls."""

import jax
import numpy as np
import pytest
from PIL import Image

from jtransfer import config as configs
from jtransfer import predict, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.tasks.printing import TOP
from jtransfer.training import checkpoint

LINEAR = '''
"""One dense layer over the pixels of an image."""

import flax.linen as nn


class Linear(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))
'''
CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
IMAGES = 19  # two batches, the last one padded


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of a linear model, image files of several sizes, and the probabilities worked out by hand."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "linear.py").write_text(LINEAR)
    config = configs.default()
    config.model.name = f"{folder}/linear.py:Linear"
    config.data.train, config.data.test = "train[:32]", "test[:16]"
    config.data.transform = f"resize(12)|flip_lr|normalize(({MEAN}, {STD}))"
    config.batch_size = 16
    config.optim.lr = 0.05
    config.phases = [configs.phase("finetune", steps=4)]
    train.run(config, folder / "run")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (12 + i, 30 - i, 3), np.uint8) for i in range(IMAGES)]
    paths = [str(folder / f"{i}.png") for i in range(IMAGES)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    dense = checkpoint.load_params(folder / "run")["params"]["Dense_0"]
    small = np.stack([Image.fromarray(image).resize((12, 12), Image.Resampling.BILINEAR) for image in images])
    logits = ((small / 255 - MEAN) / STD).reshape(IMAGES, -1) @ dense["kernel"] + dense["bias"]
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return folder / "run", paths, exponentials / exponentials.sum(1, keepdims=True)


def test_files_are_predicted_as_worked_out_by_hand(run):
    folder, paths, expected = run
    probs, names = predict.predict(folder, paths)
    np.testing.assert_allclose(probs, expected, rtol=1e-4, atol=1e-6)
    assert names == CLASSES


def test_many_calls_load_once_and_compile_once(run, monkeypatch):
    folder, paths, expected = run
    loads, original = [], checkpoint.load_params
    monkeypatch.setattr(checkpoint, "load_params", lambda *args: loads.append(args) or original(*args))
    predictor = predict.load(folder)
    predictor(paths[:4])
    with jax.log_compiles(), compilations() as compiled:
        for first in range(1, 12):
            probs = predictor(paths[first : first + 4])["probs"]
            np.testing.assert_allclose(probs, expected[first : first + 4], rtol=1e-4, atol=1e-6)
    assert len(loads) == 1
    assert compiled == []


class compilations:
    """The programs that are compiled while the context is entered."""

    def __enter__(self):
        self.names = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self.names

    def _listen(self, event, duration, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            self.names.append(details)

    def __exit__(self, *_):
        jax._src.monitoring.unregister_event_duration_listener(self._listen)


def test_the_command_prints_the_best_classes_of_each_image(run, capsys):
    folder, paths, expected = run
    run_command(predict.main, ["predict", f"--workdir={folder}", "--step=4", paths[0], paths[10]])
    lines = capsys.readouterr().out.splitlines()
    for line, path, probs in zip(lines, (paths[0], paths[10]), expected[[0, 10]], strict=True):
        order = np.argsort(-probs, kind="stable")[:TOP]
        best = "  ".join(f"{CLASSES[i]} {probs[i]:.3f}" for i in order)
        assert line.split() == f"{path}  {best}".split()


def test_a_step_that_was_not_kept_is_named(run):
    with pytest.raises(InputError, match="has no checkpoint of step 3; it has 4"):
        predict.predict(run[0], run[1][:1], 3)


def test_nothing_is_loaded_for_an_image_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_params", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match=r"nowhere\.png: there is no such image"):
        predict.predict(run[0], [run[1][0], "nowhere.png"])


def test_a_file_that_is_no_image_is_named(run):
    with pytest.raises(InputError, match=r"cannot read the image .*config\.json"):
        predict.predict(run[0], [str(run[0] / "config.json")])


def test_a_folder_without_a_run_is_named(run, tmp_path):
    with pytest.raises(InputError, match=r"is not the folder of a run: config\.json is missing"):
        predict.predict(tmp_path, run[1][:1])


@pytest.mark.parametrize("argv", [["image.png"], ["--workdir=run"]])
def test_the_command_says_what_it_needs(argv, capsys):
    with pytest.raises(SystemExit) as exit:
        run_command(predict.main, ["predict", "--workdir=", *argv])
    assert exit.value.code == 2
    assert "--workdir=DIR IMAGE" in capsys.readouterr().err
