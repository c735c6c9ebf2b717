"""Batch norms and domains: statistics of a stream's own, statistics taken anew, and training of norms alone."""

import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_domains
from two_domains import config_of, vectors

from jtransfer import checkpoint, layers, runs, train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.layers.frozen import frozen_modules
from jtransfer.runs import build, log
from jtransfer.training import state, statistics
from jtransfer.training import streams as reading
from jtransfer.training.streams import StreamStep


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a run on the source."""
    folder = tmp_path_factory.mktemp("source")
    train.run(config_of(folder, "source", steps=3), folder / "run")
    return folder / "run"


def numpys(x, params):
    """Mean and biased variance of what the first layer returns, in float64."""
    y = x.astype(np.float64) @ np.asarray(params["hidden"]["kernel"], np.float64) + np.asarray(params["hidden"]["bias"])
    return {"mean": y.mean(0), "var": y.var(0)}


def test_adabn_takes_the_statistics_of_the_whole_target_and_changes_nothing_else(source, tmp_path):
    before = runs.open(source).variables()
    config = config_of(tmp_path, statistics="target")
    config.init = str(source)
    found = train.run(config, tmp_path / "run")
    after = runs.open(tmp_path / "run").variables()
    jax.tree.map(np.testing.assert_array_equal, after["params"], before["params"])
    expected = numpys(vectors("target")[0], before["params"])  # in two batches, the second of them padded
    for name, value in expected.items():
        np.testing.assert_allclose(after["batch_stats"]["bn"][name], value, rtol=1e-6, atol=1e-6)
        assert np.abs(value - before["batch_stats"]["bn"][name]).max() > 0.1
    tested = [line for line in log.read(tmp_path / "run") if line.get("split") == "test"]
    assert [line["step"] for line in tested] == [0]
    assert tested[0]["accuracy"] == pytest.approx(found["accuracy"])
    again = train.run(config, tmp_path / "run")
    assert again == found


def test_labels_do_not_matter_for_what_has_no_source(source, tmp_path):
    ends = []
    for shift in (0, 1):
        folder = tmp_path / str(shift)
        folder.mkdir()
        config = config_of(folder, objective=["entropy"], trainable="norms", statistics="target", steps=3)
        x, y = vectors("target")
        np.savez(folder / "target.npz", x_train=x, y_train=(y + shift) % 3, x_test=x, y_test=y)
        config.init = str(source)
        train.run(config, folder / "run")
        ends.append(runs.open(folder / "run").variables())
    jax.tree.map(np.testing.assert_array_equal, *ends)
    before, after = (trees.flatten(held["params"]) for held in (runs.open(source).variables(), ends[0]))
    moved = {path for path in before if (before[path] != after[path]).any()}
    assert moved == {"bn/scale", "bn/bias", "ln/scale", "ln/bias"}


def test_a_stream_has_the_statistics_of_its_own_examples():
    model, x = two_domains.Net(), jnp.asarray(vectors("source")[0][:8])
    variables = dict(jax.jit(model.init)(jax.random.key(0), x))
    own = {"source": jax.tree.map(jnp.copy, variables["batch_stats"])}
    inputs = {"target": jnp.asarray(vectors("target")[0][:8]), "source": x}
    how = {"is_frozen": lambda path: False, "key": jax.random.key(1), "mutable": ["batch_stats", "stream_stats"]}
    streams = {"target": StreamStep(), "source": StreamStep(norms="source")}
    _, changed = reading.apply(model, {**variables, "stream_stats": own}, inputs, streams, (), **how)
    for name, found in (("target", changed["batch_stats"]), ("source", changed["stream_stats"]["source"])):
        expected = numpys(np.asarray(inputs[name]), variables["params"])
        np.testing.assert_allclose(found["bn"]["mean"], 0.1 * expected["mean"], atol=1e-6)
        np.testing.assert_allclose(found["bn"]["var"], 0.9 + 0.1 * expected["var"], rtol=1e-6)


def test_one_stream_with_statistics_of_its_own_is_batch_norm():
    model, x = two_domains.Net(), jnp.asarray(vectors("source")[0][:8])
    variables = dict(jax.jit(model.init)(jax.random.key(0), x))
    own = {"stream_stats": {"source": variables["batch_stats"]}}
    how = {"is_frozen": lambda path: False, "key": jax.random.key(1), "mutable": ["batch_stats", "stream_stats"]}
    plain, theirs = (
        reading.apply(model, {**variables, **own}, {"source": x}, {"source": StreamStep(norms=norms)}, (), **how)
        for norms in (None, "source")
    )
    np.testing.assert_array_equal(plain[0]["source"]["head"], theirs[0]["source"]["head"])
    jax.tree.map(np.testing.assert_array_equal, plain[1]["batch_stats"], theirs[1]["stream_stats"]["source"])


def test_frozen_batch_norms_stand_still_for_every_stream():
    mask = {"hidden": {"kernel": False}, "bn": {"scale": False}, "head": {"kernel": True}}
    assert frozen_modules(mask)(("bn",))
    variables = {"params": mask, "batch_stats": {"bn": {"mean": 0}}, "stream_stats": {"source": {"bn": {"mean": 1}}}}
    _, frozen, model_state = state.split(variables, {"params": mask})
    assert frozen["stream_stats"] == {"source": {"bn": {"mean": 1}}}
    assert not model_state


@pytest.mark.parametrize("norms", ["statistics", "own"])
def test_a_run_with_batch_norms_of_the_source_goes_on_to_the_same_bits(norms, tmp_path):
    config = config_of(tmp_path, objective=["task", ("mmd", {"at": "features"})], streams=["source"], steps=4)
    config.streams.source.norms = norms
    config.checkpoint_every = 2
    train.run(config, tmp_path / "whole")
    loaded = checkpoint.load_params(tmp_path / "whole", 4)
    assert set(loaded) == {"params", "batch_stats", "stream_stats"} | ({"aux"} if norms == "own" else set())
    assert np.abs(loaded["stream_stats"]["source"]["bn"]["mean"] - loaded["batch_stats"]["bn"]["mean"]).max() > 0.1
    if norms == "own":
        theirs = loaded["aux"]["norms"]["source"]["bn"]
        assert np.abs(theirs["scale"] - loaded["params"]["bn"]["scale"]).max() > 1e-5
    assert set(runs.open(tmp_path / "whole").variables()) == {"params", "batch_stats"}
    shutil.rmtree(tmp_path / "whole" / "checkpoints" / "4")
    train.run(config, tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load_params(tmp_path / "whole", 4), loaded)


@pytest.mark.parametrize(
    ("model", "phase", "stream", "says"),
    [
        ("mlp", {"statistics": "target", "steps": 1}, "", "statistics='target', but the model has no batch norms"),
        ("", {"statistics": "sauce", "steps": 1}, "", "stream in statistics of the phase 'adapt': 'sauce'"),
        ("", {}, "", "phase adapt: give either steps or epochs, more than 0"),
        ("mlp", {"trainable": "norms", "steps": 1}, "", "trainable='norms': the model has no norms"),
        ("", {"steps": 1}, "mine", "streams.source.norms='mine': give 'shared', 'statistics' or 'own'"),
        ("mlp", {"steps": 1}, "own", "streams.source.norms='own': the model has no batch norms"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(model, phase, stream, says, tmp_path):
    config = config_of(tmp_path, streams=["source"] if stream else (), **phase)
    config.model.name = model or config.model.name
    if stream:
        config.streams.source.norms = stream
    with pytest.raises(InputError) as error:
        build.prepare(config, tmp_path / "run")
    assert says in str(error.value)
    assert not (tmp_path / "run").exists()


class Norm(nn.Module):
    """A batch norm that is told of training in one of the ways that models do it."""

    how: str

    @nn.compact
    def __call__(self, x, train=False):
        if self.how == "constructor":
            return nn.BatchNorm(use_running_average=not train, name="bn")(x)
        if self.how == "positional":
            return nn.BatchNorm(name="bn")(x, not train)
        norm = layers.BatchNorm if self.how == "package" else nn.BatchNorm
        return norm(name="bn")(x, use_running_average=not train)


@pytest.mark.parametrize("how", ["constructor", "positional", "keyword", "package"])
def test_statistics_are_numpys_whatever_the_batches_and_the_padding(how):
    x = np.random.default_rng(0).normal(size=(13, 4, 3, 2)).astype(np.float32) * [1, 9] + [5, 0]
    padded = np.concatenate([x, np.full((2, 4, 3, 2), 1e3)]).astype(np.float32)
    model = Norm(how)
    variables = dict(model.init(jax.random.key(0), padded[:5]))
    batches = [{"inputs": padded[i : i + 5], "mask": np.arange(i, i + 5) < 13} for i in (0, 5, 10)]
    found = statistics.estimate(jax.jit(statistics.make_step(model, lambda x: x)), variables, batches)
    np.testing.assert_allclose(found["bn"]["mean"], x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found["bn"]["var"], x.var((0, 1, 2)), rtol=1e-6)
