"""Predictions of image files are those of the run's own evaluation, and what is wrong is said in one line."""

import jax
import numpy as np
import pytest
from PIL import Image

from jtransfer import config as configs
from jtransfer import data, evaluators, predict
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.runs import build
from jtransfer.runs import folder as workdir
from jtransfer.tasks import printing
from jtransfer.training import checkpoint
from jtransfer.training import step as steps

IMAGES = predict.BATCH + 3  # two batches, the last one padded


RNG = np.random.default_rng(0)


def draw(leaf):
    """Numbers that keep activations near 1."""
    fan_in = np.prod(leaf.shape[:-1])
    values = RNG.normal(size=leaf.shape) / fan_in**0.5 if len(leaf.shape) > 1 else RNG.uniform(0.5, 1, leaf.shape)
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder without its parameters, image files, and the probabilities that its evaluation gives them."""
    folder = tmp_path_factory.mktemp("run")
    config = configs.default()
    config.model.name = "resnet18"
    config.model.fields = {"depths": (1, 1, 1, 1), "image_size": 32}
    config.data.transform = "resize(32)|flip_lr"
    config = configs.complete(config)
    source = data.open(config.data, f"test[:{IMAGES}]")
    workdir.claim(folder, config, source.class_names)
    paths = [str(folder / f"{i}.png") for i in range(IMAGES)]
    for i, path in enumerate(paths):
        Image.fromarray(source[i]["image"]).save(path)

    model = build.create_model(config, len(source.class_names))
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    variables = jax.tree.map(draw, shapes)
    transform = build.transforms(config, model)["eval"]
    eval_step = jax.jit(steps.make_eval_step(model, preprocess=steps.pixels(**build.statistics(transform))))
    _, expected = evaluators.run(eval_step, variables, data.eval_batches(source, transform, predict.BATCH))
    assert len(np.unique(expected["probs"].round(4))) > IMAGES  # images differ
    return folder, paths, variables, source.class_names, expected["probs"]


@pytest.fixture
def loaded(run, monkeypatch):
    """What was asked of the checkpoint, which is stood in for."""
    asked = []
    monkeypatch.setattr(checkpoint, "load_params", lambda *args: asked.append(args) or run[2])
    return asked


def test_files_are_predicted_as_the_evaluation_predicts_them(run, loaded):
    folder, paths, _, class_names, expected = run
    probs, names = predict.predict(folder, paths)
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    assert names == class_names
    assert loaded == [(folder, None)]


def test_the_command_prints_the_best_classes_of_each_image(run, loaded, capsys):
    folder, paths, _, class_names, expected = run
    run_command(predict.main, ["predict", f"--workdir={folder}", "--step=20", paths[0], paths[10]])
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == f"{paths[0]}  {best(class_names, expected[0])}".split()
    assert second.startswith(f"{paths[10]}  ")
    assert loaded == [(str(folder), 20)]


def best(names, probs):
    order = np.argsort(-probs, kind="stable")[: printing.TOP]
    return "  ".join(f"{names[i]} {probs[i]:.3f}" for i in order)


def test_nothing_is_loaded_for_an_image_that_is_not_there(run, loaded):
    with pytest.raises(InputError, match=r"nowhere\.png: there is no such image"):
        predict.predict(run[0], [run[1][0], "nowhere.png"])
    assert not loaded


def test_a_file_that_is_no_image_is_named(run, loaded):
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
