"""Fused runs and checkpoints: what every command then reads, and what can't be fused."""

import json
import shutil
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_vectors
from safetensors.numpy import save_file

from jtransfer import evaluate, fuse, models, predict, runs, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.exporting import export, merging
from jtransfer.fusing import judging, norms, source
from jtransfer.fusing.aligning import groups_of
from jtransfer.fusing.fuse import fuse as fused
from jtransfer.fusion import permutations
from jtransfer.models import forward
from jtransfer.runs import initialize
from jtransfer.weights.streaming import orbax_writer

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


# Checkpoints, whose models have batch norms.


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Three checkpoints of a small ResNet, as files of our own names, with their descriptions; and their variables."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = models.create("resnet18", 10, depths=(1, 1), image_size=16)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), model.example_input(1)))
    rng, made = np.random.default_rng(0), []
    for number in range(3):
        tree = jax.tree.map(lambda leaf: 0.1 + 0.1 * rng.random(leaf.shape, np.float32), shapes)
        made.append(trees.flatten(tree))
        (folder / str(number)).mkdir()
        write(folder / str(number), made[-1], model)
    return folder, made


def write(folder, flat, model, names=tuple("abcdefghij")):
    save_file(flat, folder / "model.safetensors")
    fields = {"depths": list(model.depths), "image_size": model.image_size, "num_classes": model.num_classes}
    content = {"version": 2, "digest": "", "model": {"name": "resnet18", "fields": fields}, "class_names": list(names)}
    (folder / "source.json").write_text(json.dumps(content))


def changed(checkpoints, tmp_path, flat, names=tuple("abcdefghij"), **fields):
    model = models.create("resnet18", **{"num_classes": 10, "depths": (1, 1), "image_size": 16, **fields})
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", flat, model, names)
    return tmp_path / "other"


def test_fused_checkpoints_are_a_checkpoint(checkpoints, tmp_path, capsys):
    folder, made = checkpoints
    argv = [str(folder / "1"), str(folder / "2"), str(tmp_path / "dest"), "--how=ties", f"--base={folder}/0"]
    fuse.main(["fuse", *argv, "--density=1.0", "--convention=weighted_sum"])
    out = capsys.readouterr().out
    assert "statistics of batch norms are averages, which may be far from those of the fused model" in out
    _, found, report = weights.restore(tmp_path / "dest")
    assert report.reinitialised == ()
    kernel = "params/stem/conv/kernel"
    base, one, two = (flat[kernel].astype(np.float64) for flat in made)
    signs = np.where(one + two - 2 * base >= 0, 1, -1)
    expected = base + sum(np.where(np.sign(x - base) == signs, x - base, 0) for x in (one, two))
    np.testing.assert_allclose(trees.flatten(found)[kernel], expected, atol=1e-6)
    variance = "batch_stats/stem/bn/var"
    np.testing.assert_allclose(trees.flatten(found)[variance], (made[1][variance] + made[2][variance]) / 2, atol=1e-6)
    fused([tmp_path / "dest", folder / "0"], tmp_path / "again")
    assert weights.describe(tmp_path / "again").class_names == tuple("abcdefghij")


def test_statistics_are_those_of_the_fused_model(checkpoints, tmp_path, capsys):
    folder, _ = checkpoints
    import tiny_run

    config = tiny_run.get_config("1")
    config.data.transform = "resize(16)"
    fused([folder / "0", folder / "1"], tmp_path / "dest", config=config, norms="train")
    assert "are taken anew, of 64 examples of 'train' without their labels" in capsys.readouterr().out
    model, found, _ = weights.restore(tmp_path / "dest")
    kept = tmp_path / "kept"
    fused([folder / "0", folder / "1"], kept, config=config, norms="keep")
    _, averaged, _ = weights.restore(kept)
    flat, before = trees.flatten(found), trees.flatten(averaged)
    np.testing.assert_array_equal(flat["params/stem/conv/kernel"], before["params/stem/conv/kernel"])
    assert np.abs(flat["batch_stats/stem/bn/mean"] - before["batch_stats/stem/bn/mean"]).max() > 0.01
    assert model.num_classes == 10


@pytest.mark.parametrize("wins", ["averages", "anew"])
def test_the_better_statistics_are_taken(checkpoints, monkeypatch, wins):
    kept, anew = {"batch_stats": {}}, {"batch_stats": {"bn": {"mean": np.ones(1)}}}
    monkeypatch.setattr(judging, "can_choose", lambda run, first: True)
    monkeypatch.setattr(judging, "renewed", lambda run, split: (lambda variables: anew, 7))
    monkeypatch.setattr(judging, "scorer", lambda run: lambda v: 1.0 if (v is anew) == (wins == "anew") else 0.5)
    chosen = norms.of(source.open(checkpoints[0] / "0"), "", object())
    assert chosen.finish(kept) == (anew if wins == "anew" else kept, 1.0)
    assert chosen.told == {"norms": "better", "norm_examples": 7}


def test_heads_of_other_classes_are_dropped_by_name(checkpoints, tmp_path, capsys):
    folder, made = checkpoints
    other = changed(checkpoints, tmp_path, made[1], tuple("klmnopqrst"))
    with pytest.raises(InputError, match=r"are of other classes .*heads=drop"):
        fused([folder / "0", other], tmp_path / "dest")
    assert not (tmp_path / "dest").exists()
    fused([folder / "0", other], tmp_path / "dest", heads="drop")
    _, _, report = weights.restore(tmp_path / "dest")
    assert [path for path, _ in report.reinitialised] == ["head/dense/bias", "head/dense/kernel"]
    assert "the fused model has no head" in capsys.readouterr().out


def test_heads_of_the_same_classes_in_another_order_are_put_in_order(checkpoints, tmp_path, capsys):
    folder, made = checkpoints
    order = np.arange(10)[::-1]
    turned = {path: leaf[..., order].copy() if "/head/" in path else leaf for path, leaf in made[0].items()}
    other = changed(checkpoints, tmp_path, turned, tuple("abcdefghij"[::-1]))
    fused([folder / "0", other], tmp_path / "dest", norms="keep")
    assert "are put in the order of those of" in capsys.readouterr().out
    _, found, _ = weights.restore(tmp_path / "dest")
    for path, leaf in trees.flatten(found).items():
        np.testing.assert_allclose(leaf, made[0][path], atol=1e-6)


def test_fusing_holds_a_tensor_of_each_model(tmp_path, monkeypatch):
    model = models.create("mlp", 10, widths=(2000, 500, 2000, 500, 2000, 500), num_features=64)
    shapes = trees.flatten(jax.eval_shape(lambda: model.init(jax.random.key(0), model.example_input(1))))
    flat = {path: np.zeros(leaf.shape, np.float32) for path, leaf in shapes.items()}
    fields = {"widths": [2000, 500, 2000, 500, 2000, 500], "num_features": 64, "num_classes": 10}
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        save_file(flat, tmp_path / name / "model.safetensors")
        content = {"version": 2, "digest": "", "model": {"name": "mlp", "fields": fields}, "class_names": []}
        (tmp_path / name / "source.json").write_text(json.dumps(content))
    largest, whole = max(leaf.nbytes for leaf in flat.values()), sum(leaf.nbytes for leaf in flat.values())
    begin = orbax_writer.new

    def begun(place):
        tracemalloc.start()
        return begin(place)

    monkeypatch.setattr(orbax_writer, "new", begun)
    fused([tmp_path / "one", tmp_path / "two", tmp_path / "three"], tmp_path / "dest")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * whole  # what the three models have
    assert peak < 14 * largest  # of two tensors at once: three as they are, three that are stacked, and the fused one


def test_what_can_not_be_fused_is_one_line_and_nothing_is_written(checkpoints, folder, tmp_path):
    files, made = checkpoints
    bad = {**made[1], "params/stem/conv/kernel": made[1]["params/stem/conv/kernel"] * np.nan}
    nan = changed(checkpoints, tmp_path, bad)
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    model = models.create("resnet18", 10, depths=(2, 1), image_size=16)
    shapes = trees.flatten(jax.eval_shape(lambda: model.init(jax.random.key(0), model.example_input(1))))
    write(deeper, {path: np.ones(leaf.shape, np.float32) for path, leaf in shapes.items()}, model)
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    few = {path: leaf[..., :4].copy() if "/head/" in path else leaf for path, leaf in made[1].items()}
    write(fewer, few, models.create("resnet18", 4, depths=(1, 1), image_size=16), ())
    one, run = files / "0", folder / "run0"
    cases = [
        ([one, deeper], {}, "are no models of one architecture: .*stage1/block1"),
        ([one, fewer], {}, "have heads of other shapes; heads=drop"),
        ([one, nan], {}, "params/stem/conv/kernel of .*other has numbers that are not finite"),
        ([one, run], {}, "are no models of one architecture"),
        ([one, files / "1"], {"how": "ties"}, "'ties' needs the model that all began from; give base"),
        ([one, files / "1"], {"how": "median"}, "unknown way to fuse 'median'"),
        ([one, files / "1"], {"how": "greedy"}, "the greedy soup needs data; give --config=FILE"),
        ([one, files / "1"], {"how": "fisher"}, "'fisher' needs data"),
        ([one, files / "1"], {"how": "swa"}, "averages the checkpoints of one run"),
        ([one], {"how": "swa"}, "is not the folder of a run, whose checkpoints"),
        ([one, files / "1"], {"step": 3}, "step is of runs, and none of the models is one"),
        ([one, files / "1"], {"heads": "mean"}, "heads='mean': give 'keep' or 'drop'"),
        ([one, files / "1"], {"weights": [1, 2, 3]}, "a weight for each of the 2 models, not 3"),
        ([one, files / "1"], {"density": 0.5}, "'uniform' has no 'density'"),
        ([one, files / "none"], {}, "none"),
        ([run, folder / "run1"], {"norms": "train"}, "norms='train', but the models have no batch norms"),
        ([run, folder / "run1"], {"how": "slerp", "weights": [1, 2]}, "'slerp' has no weights"),
        ([run], {"how": "wise", "base": folder / "run1", "curve": [0, 2]}, "alpha=2 must be from 0, the one model"),
        ([run], {"how": "wise", "base": folder / "run1", "curve": [0, 1], "alpha": 0.5}, "leave alpha out"),
        ([run, folder / "run1"], {"curve": [0, 1]}, "curve is of 'wise'"),
        ([run], {"how": "ensemble"}, "two members or more"),
        ([run, one], {"how": "ensemble"}, "predict other classes"),
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
