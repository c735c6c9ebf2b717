"""A run on vectors from a config: pre-trained, fine-tuned, resumed, predicted, exported."""

import json
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

from jtransfer import main, predict, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.command import run_command
from jtransfer.exporting import export
from jtransfer.runs import config_file
from jtransfer.runs import open as open_run
from jtransfer.training.step_metrics import StepMetrics

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs/vectors.py"
REFERENCES = ROOT / "tests/references/mlp"
BANDS, CLASSES = 80, 10


def filterbanks(path, sizes, gain, tilt, seed):
    """Log-energies of 80 bands: spectra of 10 classes that two channels colour by a gain and a tilt of their own."""
    shapes = np.random.default_rng(0).normal(size=(CLASSES, BANDS)).cumsum(1) / 3
    rng, arrays = np.random.default_rng(seed), {}
    for split, size in sizes.items():
        labels = np.arange(size) % CLASSES
        energies = gain * shapes[labels] + tilt * np.arange(BANDS) / BANDS + rng.normal(size=(size, BANDS)) * 2
        arrays |= {f"x_{split}": energies.astype(np.float32), f"y_{split}": labels}
    np.savez(path, **arrays)
    return path


def of(path, init="scratch"):
    """The argument of the config for a file with two splits."""
    return f"data=npz:{path},train=train,test=test,init={init}"


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def run(workdir, argument, *args):
    given = [f"--config={CONFIG}:{argument}", f"--workdir={workdir}", "--config.log_every=1000", *args]
    run_command(main.main, ["main", *given])


def refused(capsys, tmp_path, argument, *args):
    """The line that answers a mistake; nothing is written."""
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "run", argument, *args)
    err = capsys.readouterr().err
    assert (stopped.value.code, err.count("\n"), (tmp_path / "run").exists()) == (2, 1, False)
    return err


def accuracy(workdir):
    return next(line["accuracy"] for line in reversed(open_run(workdir).lines) if line.get("split") == "test")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two sets: many vectors of one channel, a few of another."""
    folder = tmp_path_factory.mktemp("sets")
    return (
        filterbanks(folder / "source.npz", {"train": 800, "test": 200}, 1.0, 0.0, seed=1),
        filterbanks(folder / "target.npz", {"train": 40, "test": 200}, 0.6, 8.0, seed=2),
    )


@pytest.fixture(scope="module")
def pretrained(sets, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "pretrained"
    run(workdir, of(sets[0]), "--config.phases[0].epochs=8")
    return workdir


@pytest.fixture(scope="module")
def finetuned(sets, pretrained, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "finetuned"
    run(workdir, of(sets[1], pretrained), "--config.phases[0].epochs=8", "--config.mixup=0.2")
    return workdir


def test_what_was_learnt_of_one_channel_helps_with_another(sets, pretrained, finetuned, tmp_path):
    run(tmp_path / "scratch", of(sets[1]), "--config.phases[0].epochs=8")
    assert accuracy(pretrained) > 0.9
    assert accuracy(finetuned) > accuracy(tmp_path / "scratch") + 0.2
    model = open_run(finetuned).model
    assert (model.num_features, model.widths, model.num_classes) == (BANDS, (128, 64), CLASSES)


@pytest.mark.parametrize("statistics", ["train", "init", "none"])
def test_the_statistics_are_those_that_the_config_names(statistics, sets, pretrained, tmp_path):
    given = ["--config.phases[0].epochs=1", f"--config.data.statistics={statistics}"]
    run(tmp_path / "run", of(sets[1], pretrained), *given)
    found = json.loads((tmp_path / "run" / "vector.json").read_text())
    own = arrays_of(sets[1])["x_train"].astype(np.float64)
    expected = {
        "train": {"mean": own.mean(0), "std": own.std(0)},
        "init": json.loads((pretrained / "vector.json").read_text()),
        "none": {"mean": np.zeros(BANDS), "std": np.ones(BANDS)},
    }[statistics]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


def test_a_file_of_torch_is_fine_tuned_with_its_own_sizes(sets, tmp_path):
    run(tmp_path / "run", of(sets[1], REFERENCES / "acoustic.pth"), "--config.phases[0].epochs=1")
    assert open_run(tmp_path / "run").model.widths == (16, 12, 8)
    (begun,) = (line for line in open_run(tmp_path / "run").lines if line.get("event") == "init")
    assert (begun["scheme"], begun["loaded"], begun["reinitialised"]) == ("torch", 8, [])


def test_predictions_are_those_of_the_evaluation(finetuned, sets, tmp_path):
    rows = arrays_of(sets[1])["x_test"][:3]
    given = [str(tmp_path / f"{i}.npy") for i in range(2)]
    for path, row in zip(given, rows, strict=False):
        np.save(path, row)
    given.append(",".join(map(str, rows[2].tolist())))
    stored = open_run(finetuned).predictions
    found, names = predict.predict(finetuned, given)
    np.testing.assert_allclose(found, stored["probs"][np.argsort(stored["index"])][:3], atol=1e-5)
    assert names == [str(i) for i in range(CLASSES)]


def test_a_report_shows_vectors(finetuned):
    page = (finetuned / "report.html").read_text()
    assert "(80 numbers)" in page
    assert 'class="bars"' in page
    assert "The size of each class" in page


def test_exports_standardise_or_say_how(finetuned, sets, tmp_path):
    rows = arrays_of(sets[1])["x_test"][:5]
    stored = open_run(finetuned)
    standard = (rows - stored.modality.mean) / stored.modality.std
    expected = stored.model.apply(stored.variables(), standard)
    for format in ("safetensors", "torch"):
        export.export(finetuned, tmp_path / format, format)
        model, variables, _ = weights.restore(tmp_path / format)
        np.testing.assert_allclose(model.apply(variables, standard), expected, atol=1e-5)
        assert (tmp_path / format / "vector.json").read_text() == (finetuned / "vector.json").read_text()
    assert set(weights.formats.open(tmp_path / "torch")) == {f"{i}.{k}" for i in (0, 2, 4) for k in ("weight", "bias")}
    export.export(finetuned, tmp_path / "program", "stablehlo")
    program = jax.export.deserialize(bytearray((tmp_path / "program" / "model.stablehlo").read_bytes()))
    with np.load(tmp_path / "program" / "weights.npz") as parameters:
        np.testing.assert_allclose(program.call(dict(parameters), rows), expected, atol=1e-5)


def test_an_exported_folder_has_the_statistics_for_the_next_run(finetuned, sets, tmp_path):
    export.export(finetuned, tmp_path / "shared", "safetensors")
    given = ["--config.phases[0].epochs=1", "--config.data.statistics=init"]
    run(tmp_path / "run", of(sets[1], tmp_path / "shared"), *given)
    assert (tmp_path / "run" / "vector.json").read_text() == (finetuned / "vector.json").read_text()


def test_a_run_that_is_stopped_ends_as_one_that_was_not(sets, finetuned, pretrained, tmp_path, monkeypatch):
    given = ["--config.phases[0].epochs=8", "--config.mixup=0.2", "--config.log_every=1000"]
    config = config_file.load(f"{CONFIG}:{of(sets[1], pretrained)}", [*given, "--config.checkpoint_every=1"])
    push = StepMetrics.push

    class Stopped(Exception):
        pass

    def stop(self, step, batch, values):
        if step == 5:
            raise Stopped
        push(self, step, batch, values)

    with monkeypatch.context() as patched:
        patched.setattr(StepMetrics, "push", stop)
        with pytest.raises(Stopped):
            train.run(config, tmp_path / "run")
    statistics = (tmp_path / "run" / "vector.json").read_text()
    train.run(config, tmp_path / "run")
    assert (tmp_path / "run" / "vector.json").read_text() == statistics
    ended, whole = (trees.flatten(open_run(folder).variables()) for folder in (tmp_path / "run", finetuned))
    for path, leaf in whole.items():
        np.testing.assert_array_equal(ended[path], leaf, err_msg=path)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("cutmix=1.0", "cutmix=1.0 can't be done with vectors; set cutmix=0"),
        ("data.transform=flip_lr", "data.transform is for images, and these are vectors; leave it out"),
        ("data.statistics=init", "data.statistics='init', but scratch is no run on vectors"),
        ("task=embed", "task='embed' is not one for vectors"),
        ("model.fields.num_features=7", "model.fields.num_features is given by data.num_features; leave it out"),
        ("data.name=embedded:fashion_mnist", "model 'mlp' takes vector, and these are images"),
    ],
)
def test_what_vectors_can_not_is_said_before_anything_is_written(field, message, tmp_path, capsys):
    splits = ["--config.data.train=train", "--config.data.test=test"] if "embedded" in field else []
    assert message in refused(capsys, tmp_path, "", f"--config.{field}", *splits)


@pytest.mark.parametrize(("name", "metric"), [("diabetes", "spearman"), ("iris", "accuracy")])
def test_numbers_and_classes_of_scikit_learn(name, metric, tmp_path):
    pytest.importorskip("sklearn")
    run(tmp_path / "run", f"data=sklearn:{name}", "--config.phases[0].epochs=1", "--config.optim.lr=1e-4")
    assert np.isfinite(next(line[metric] for line in open_run(tmp_path / "run").lines if line.get("split") == "test"))
