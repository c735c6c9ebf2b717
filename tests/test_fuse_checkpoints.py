"""Fused checkpoints, and the statistics of their batch norms."""

import json
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
from safetensors.numpy import save_file

from jtransfer import fuse, models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.fusing import judging, norms, source
from jtransfer.fusing.fuse import fuse as fused
from jtransfer.weights.streaming import orbax_writer

EARLIER = Path(__file__).parent / "references" / "earlier"


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


def test_what_can_not_be_fused_is_one_line_and_nothing_is_written(checkpoints, tmp_path):
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
    one = files / "0"
    cases = [
        ([one, deeper], {}, "are no models of one architecture: .*stage1/block1"),
        ([one, fewer], {}, "have heads of other shapes; heads=drop"),
        ([one, nan], {}, "params/stem/conv/kernel of .*other has numbers that are not finite"),
        ([one, EARLIER / "images"], {}, "are no models of one architecture"),
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
    ]
    for sources, fields, says in cases:
        with pytest.raises(InputError, match=says) as error:
            fused(sources, tmp_path / "dest", **fields)
        assert "\n" not in str(error.value), says
        assert not (tmp_path / "dest").exists(), says
