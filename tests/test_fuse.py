"""Fused runs and checkpoints: what every command then reads, and what can't be fused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_vectors
from safetensors.numpy import save_file

from jtransfer import evaluate, fuse, predict, runs, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.exporting import export, merging
from jtransfer.fusing.aligning import groups_of
from jtransfer.fusing.fuse import fuse as fused
from jtransfer.fusion import permutations
from jtransfer.models import forward
from jtransfer.reporting import page as report
from jtransfer.runs import initialize

EARLIER = Path(__file__).parent / "references" / "earlier"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs of one architecture, the last two from the first, in which the test data are."""
    folder = tmp_path_factory.mktemp("fused")
    for number in range(3):
        config = tiny_vectors.config_of(folder, steps=4)
        config.data.train, config.data.validation = "train[:20]", "train[20:]"
        config.seed, config.keep, config.checkpoint_every, config.eval_every = number, 3, 2, 2
        if number:
            config.init, config.optim.lr = str(folder / "run0"), 0.03
        train.run(config, folder / f"run{number}")
    return folder


def variables(path):
    return trees.flatten(runs.open(path).variables())


def logits_of(path, x):
    run = runs.open(path)
    return forward.apply(run.model, run.variables(), x)[0]


def test_a_fused_run_is_read_by_every_command(folder, tmp_path, capsys):
    sources = [folder / f"run{number}" for number in range(3)]
    fuse.main(["fuse", *map(str, sources), str(tmp_path / "mean"), "--weights=1,2,1"])
    assert "uniform: weights 1, 2, 1" in capsys.readouterr().out
    found = variables(tmp_path / "mean")
    for path, leaf in found.items():
        one, two, three = (variables(source)[path] for source in sources)
        np.testing.assert_allclose(leaf, (one + 2 * two + three) / 4, atol=1e-6)
    assert runs.open(tmp_path / "mean").class_names == runs.open(sources[0]).class_names
    probs, _ = predict.predict(tmp_path / "mean", ["1,2,3,4,5,6"])
    assert evaluate.evaluate(tmp_path / "mean").examples == 16
    export.export(tmp_path / "mean", tmp_path / "exported", "safetensors")
    _, restored, _ = weights.restore(tmp_path / "exported")
    assert {path: leaf.tolist() for path, leaf in trees.flatten(restored).items()} == {
        path: leaf.tolist() for path, leaf in found.items()
    }
    config = tiny_vectors.config_of(folder, steps=1)
    config.init = str(tmp_path / "mean")
    train.run(config, tmp_path / "further")
    line = next(line for line in runs.open(tmp_path / "mean").lines if line["event"] == "fuse")
    assert line["sources"] == list(map(str, sources))
    assert probs.shape == (1, 3)


def test_a_fused_run_is_not_gone_on_with(folder, tmp_path):
    fused([folder / "run0", folder / "run1"], tmp_path / "mean")
    with pytest.raises(InputError, match=r"mean holds a model that was not trained there, .* take another workdir"):
        train.run(runs.open(folder / "run0").config, tmp_path / "mean")


def test_the_greedy_soup_is_chosen_on_validation(folder, tmp_path, capsys):
    fused([folder / f"run{number}" for number in range(3)], tmp_path / "soup", "greedy")
    line = next(line for line in runs.open(tmp_path / "soup").lines if line["event"] == "fuse")
    assert line["protocol"] == "order and members chosen on the validation split"
    assert line["validation"] >= max(line["alone"])
    measured = evaluate.evaluate(tmp_path / "soup", split="validation").metrics["accuracy"]
    assert measured == pytest.approx(line["validation"])
    assert "accuracy" in capsys.readouterr().out


def test_checkpoints_of_one_run_are_averaged(folder, tmp_path):
    fused([folder / "run1"], tmp_path / "swa", "swa")
    each = [trees.flatten(runs.open(folder / "run1").variables(step)) for step in (2, 4)]
    for path, leaf in variables(tmp_path / "swa").items():
        np.testing.assert_allclose(leaf, (each[0][path] + each[1][path]) / 2, atol=1e-6)
    fused([folder / "run1"], tmp_path / "ema", "ema", decay=0.25)
    for path, leaf in variables(tmp_path / "ema").items():
        np.testing.assert_allclose(leaf, 0.25 * each[0][path] + 0.75 * each[1][path], atol=1e-6)


def test_the_curve_is_chosen_on_validation_and_shows_other_sets(folder, tmp_path, capsys):
    argv = ["--how=wise", f"--base={folder}/run0", "--curve=0,0.5,…,1", f"--shifted=npz:{folder}/vectors.npz"]
    fuse.main(["fuse", str(folder / "run1"), str(tmp_path / "wise"), *argv])
    line = next(line for line in runs.open(tmp_path / "wise").lines if line["event"] == "fuse")
    assert [row["alpha"] for row in line["curve"]] == [0, 0.5, 1]
    for row, end in ((line["curve"][0], "run0"), (line["curve"][2], "run1")):
        for split in ("validation", "test"):
            assert row[split] == pytest.approx(evaluate.evaluate(folder / end, split=split).metrics["accuracy"])
        assert row[f"npz:{folder}/vectors.npz"] == row["test"]
    best = max(line["curve"], key=lambda row: row["validation"])
    assert line["fields"]["alpha"] == best["alpha"]
    assert "by which it was chosen" in capsys.readouterr().out
    assert (tmp_path / "wise" / "curve.svg").exists()
    text = report.write(tmp_path / "wise").read_text()
    assert "The places between the models" in text
    assert text.count("<svg") >= 2


@pytest.mark.parametrize("how", ["fisher", "regmean"])
def test_ways_that_look_at_data(folder, tmp_path, how):
    fused([folder / "run1", folder / "run2"], tmp_path / how, how, examples=16)
    mean = {path: (leaf + variables(folder / "run2")[path]) / 2 for path, leaf in variables(folder / "run1").items()}
    found = variables(tmp_path / how)
    assert any(np.abs(found[path] - mean[path]).max() > 1e-4 for path in mean)
    fused([folder / "run1", folder / "run1"], tmp_path / "same", how, examples=16)
    for path, leaf in variables(folder / "run1").items():
        np.testing.assert_allclose(variables(tmp_path / "same")[path], leaf, atol=1e-3)


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_an_ensemble_predicts_the_mean(folder, tmp_path, combine):
    sources = [folder / f"run{number}" for number in range(3)]
    fused(sources, tmp_path / "all", "ensemble", weights=[1, 2, 1], combine=combine)
    table = predict.load(tmp_path / "all")(["1,2,3,4,5,6"])
    run = runs.open(sources[0])
    x = run.modality.read("1,2,3,4,5,6", run.task)
    each = np.stack([predict.load(source)(["1,2,3,4,5,6"])["probs"][0] for source in sources])
    shares = np.array([1, 2, 1])[:, None] / 4
    if combine == "logits":
        mean = np.exp((shares * np.log(each)).sum(0))
        expected = mean / mean.sum()
    else:
        expected = (shares * each).sum(0)
    np.testing.assert_allclose(table["probs"][0], expected, rtol=1e-4)
    assert x is not None
    assert evaluate.evaluate(tmp_path / "all").examples == 16


def test_a_stack_is_fitted_on_validation(folder, tmp_path, capsys):
    fused([folder / "run1", folder / "run2"], tmp_path / "stack", "stack")
    assert "fitted on 12 examples of the validation split" in capsys.readouterr().out
    found = evaluate.evaluate(tmp_path / "stack", split="validation").metrics
    alone = [evaluate.evaluate(folder / f"run{n}", split="validation").metrics for n in (1, 2)]
    assert found["loss"] <= min(one["loss"] for one in alone) + 1e-3


def test_units_are_put_in_the_order_of_the_first(folder, tmp_path, capsys):
    run = runs.open(folder / "run0")
    groups = groups_of(run.model, run.variables())
    rng = np.random.default_rng(0)
    moved = permutations.permute(run.variables(), groups, [rng.permutation(group.size) for group in groups])
    (tmp_path / "moved").mkdir()
    save_file(trees.flatten(moved), tmp_path / "moved" / "model.safetensors")
    fields = {"widths": [8, 8], "num_features": 6, "num_classes": 3}
    content = {"version": 2, "digest": "", "model": {"name": "mlp", "fields": fields}, "class_names": []}
    (tmp_path / "moved" / "source.json").write_text(json.dumps(content))
    fuse.main(["fuse", str(folder / "run0"), str(tmp_path / "moved"), str(tmp_path / "dest"), "--align"])
    assert "of 16 units are in another order now" in capsys.readouterr().out
    for path, leaf in variables(tmp_path / "dest").items():
        np.testing.assert_allclose(leaf, variables(folder / "run0")[path], atol=1e-7)


def test_adapters_are_fused_as_what_they_make_of_their_base(folder, tmp_path, capsys):
    export.export(folder / "run0", tmp_path / "base", "safetensors")
    for number in (0, 1):
        config = tiny_vectors.config_of(folder, steps=3)
        config.init, config.seed, config.optim.lr = str(tmp_path / "base"), number, 0.1
        config.adapters = ((".*/kernel", "lora", {"rank": 2}),)
        train.run(config, tmp_path / f"lora{number}")
    fused([tmp_path / "lora0", tmp_path / "lora1"], tmp_path / "mean")
    assert "its adapters are merged into its parameters" in capsys.readouterr().out
    one, two = (trees.flatten(runs.open(tmp_path / f"lora{number}").merged()) for number in (0, 1))
    found = variables(tmp_path / "mean")
    assert found.keys() == one.keys()
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, (one[path] + two[path]) / 2, atol=1e-6)
    assert not runs.open(tmp_path / "mean").config.adapters
    assert evaluate.evaluate(tmp_path / "mean").examples == 16


def test_folders_of_adapters_are_fused_with_their_base(tmp_path):
    case = Path(__file__).parent / "references" / "peft" / "bert"
    model, held, _ = weights.restore(case / "base", adapters=case / "adapter")
    expected = trees.flatten(merging.merge(model, held).variables)
    fused([case / "adapter", case / "adapter"], tmp_path / "mean", base=case / "base")
    _, found, _ = weights.restore(tmp_path / "mean")
    for path, leaf in trees.flatten(found).items():
        np.testing.assert_allclose(leaf, expected[path], atol=1e-5)
    fused([case / "adapter"], tmp_path / "half", "task_arithmetic", base=case / "base", weights=[0.5])
    _, half, _ = weights.restore(tmp_path / "half")
    with pytest.raises(InputError, match="is an adapter; give the model that it is of as base"):
        fused([case / "adapter", case / "adapter"], tmp_path / "none")
    assert trees.flatten(half).keys() == trees.flatten(found).keys()


def test_what_can_not_be_fused_is_one_line_and_nothing_is_written(folder, tmp_path):
    run = folder / "run0"
    cases = [
        ([run, folder / "run1"], {"norms": "train"}, "norms='train', but the models have no batch norms"),
        ([run, folder / "run1"], {"how": "slerp", "weights": [1, 2]}, "'slerp' has no weights"),
        ([run], {"how": "wise", "base": folder / "run1", "curve": [0, 2]}, "alpha=2 must be from 0, the one model"),
        ([run], {"how": "wise", "base": folder / "run1", "curve": [0, 1], "alpha": 0.5}, "leave alpha out"),
        ([run, folder / "run1"], {"curve": [0, 1]}, "curve is of 'wise'"),
        ([run, folder / "run1"], {"how": "greedy", "curve": [0, 1]}, "curve is of 'wise'"),
        ([run, folder / "run1"], {"shifted": ["mnist"]}, "shifted sets are shown by a curve"),
        ([run, folder / "run1"], {"how": "ensemble", "align": True}, "leaves the models as they are"),
        ([run], {"how": "ensemble"}, "two members or more"),
        ([run, EARLIER / "texts"], {"how": "ensemble"}, "predict other classes"),
        ([run, folder / "run1"], {"how": "stack", "combine": "logits"}, "'stack' has no 'combine'"),
        ([run], {"how": "wise", "base": folder / "run1", "alpha": 1.5}, "alpha=1.5 must be from 0"),
        ([run, folder / "run1"], {"how": "slerp", "t": -1.0}, "t=-1.0 must be from 0"),
        ([run, folder / "run1"], {"how": "jtransfer.fusion:average"}, "is no fusion.Method"),
        ([run, run], {"how": "ensemble", "combine": "max"}, "unknown combine 'max'"),
        ([EARLIER / "translations"] * 2, {"how": "ensemble"}, "is a run of task='seq2seq'"),
        ([run, folder / "run1"], {"how": "swa"}, "averages the checkpoints of one run; give one run"),
        ([folder / "run1"], {"how": "ema", "decay": 2.0}, "decay=2.0 of an average of checkpoints"),
    ]
    for sources, fields, says in cases:
        with pytest.raises(InputError, match=says) as error:
            fused(sources, tmp_path / "dest", **fields)
        assert "\n" not in str(error.value), says
        assert not (tmp_path / "dest").exists(), says


def test_a_run_whose_data_are_gone_is_fused_without_them(folder, tmp_path):
    for number in (0, 1):
        shutil.copytree(folder / f"run{number}", tmp_path / f"run{number}")
        path = tmp_path / f"run{number}" / "config.json"
        path.write_text(path.read_text().replace("vectors.npz", "gone.npz"))
    fused([tmp_path / "run0", tmp_path / "run1"], tmp_path / "dest")
    assert initialize.open(str(tmp_path / "dest")) == str(tmp_path / "dest")
    with pytest.raises(InputError, match=r"gone.npz"):
        fused([tmp_path / "run0", tmp_path / "run1"], tmp_path / "soup", "greedy")
