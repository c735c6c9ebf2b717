"""Models made of two: the stages of both in one chain, the parts' own parameters, and what does not fit."""

import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_vectors
from safetensors.numpy import save_file

from jtransfer import config as configs
from jtransfer import export, models, predict, runs, train, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.training import step as steps
from jtransfer.weights.identify import manifest

RESNET = {"name": "resnet18", "depths": (1, 1), "image_size": 16}
MLP = {"name": "mlp", "widths": (8, 6)}
BERT = {"name": "bert_base", "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 8, "vocab_size": 30, "max_length": 8}
VIT = {"name": "vit_tiny_patch16_224", "width": 16, "depth": 2, "num_heads": 2, "mlp_dim": 8, "image_size": 32}


class Plain(nn.Module):
    """A module without stages."""


COMPOSED = {
    "names of both": (
        (RESNET, 64, RESNET),
        {"cut": "stage2", "target_start": "stage1"},
        "stem stage1 adapter target_stage1 stage2 pool head",
    ),
    "texts and texts": (
        (BERT, True, {**BERT, "width": 24, "num_heads": 3}),
        {"cut": "layer_1", "target_start": "layer_1"},
        "embed layer_0 adapter layer_1 pool head",
    ),
    "vectors and vectors": (
        ({**MLP, "num_features": 7}, True, {**MLP, "num_features": 9}),
        {"cut": "hidden2"},
        "hidden1 adapter target_hidden1 hidden2 head",
    ),
    "twelve channels": (
        ({"name": "channels", "channels": 12, "image_size": 16}, 0, RESNET),
        {"cut": "pool"},
        "mix stem stage1 stage2 pool head",
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_composed_model_is_a_chain(name):
    (source, adapter, target), fields, stages = COMPOSED[name]
    model = models.compose(source, adapter, target, num_classes=3, **fields)
    assert model.stages == tuple(stages.split())
    x = model.example_input(2)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    assert set(variables["params"]) <= set(model.stages)

    @jax.jit
    def cut_everywhere(variables, x):
        whole = model.apply(variables, x)
        cuts = model.stages[2::2][-2:]
        return whole, [model.apply(variables, model.apply(variables, x, stop=cut), start=cut) for cut in cuts]

    whole, parts = cut_everywhere(variables, x)
    assert whole.shape == (2, 3)
    for part in parts:
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)
    assert manifest.create("compose", json.loads(json.dumps(manifest.fields("compose", model)))) == model


def test_a_composed_model_computes_what_its_parts_compute():
    model = models.compose(RESNET, 0, MLP, num_classes=3)
    source, target = models.create(**RESNET, num_classes=3), models.create(**MLP, num_features=128, num_classes=3)
    variables = jax.jit(model.init)(jax.random.key(0), model.example_input(1))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    own = {"hidden1", "hidden2", "head"}
    last = {"params": {name: tree for name, tree in variables["params"].items() if name in own}}
    first = {**variables, "params": {name: tree for name, tree in variables["params"].items() if name not in own}}
    features = source.apply(first, x, stop="head")
    np.testing.assert_allclose(model.apply(variables, x), target.apply(last, features), rtol=1e-5, atol=1e-6)


def test_more_channels_begin_as_varied_as_they_are():
    model = models.create("channels", channels=12, image_size=4)
    x = jax.random.normal(jax.random.key(0), (8, 4, 4, 12))
    mixed = model.apply(model.init(jax.random.key(0), x), x, stop="pool")
    np.testing.assert_allclose(mixed, np.repeat(np.sum(x, -1, keepdims=True) / 12**0.5, 3, -1), rtol=1e-5, atol=1e-5)


BAD = {
    "gives \\[B, 128\\], and mlp takes \\[B, 9\\] at 'hidden1'; set adapter=9 or adapter=True": (
        (RESNET, 0, {**MLP, "num_features": 9}),
        {},
    ),
    "gives \\[B, 20\\], and mlp takes \\[B, 9\\]": ((RESNET, 20, {**MLP, "num_features": 9}), {}),
    "gives \\[B, 4, 4, 64\\], and mlp takes": ((RESNET, True, MLP), {"cut": "stage2"}),
    "gives \\[B, 8, 16\\] with mask, and mlp takes \\[B, 64\\]": ((BERT, True, MLP), {"cut": "layer_1"}),
    "unknown cut: stage of resnet18 'stage9'": ((RESNET, 0, MLP), {"cut": "stage9"}),
    "unknown target_start: stage of mlp 'pool'": ((RESNET, 0, MLP), {"target_start": "pool"}),
    "leaves nothing of resnet18": ((RESNET, 0, MLP), {"cut": "stem"}),
    "unknown model 'resnet1'": (({"name": "resnet1"}, 0, MLP), {}),
    "unknown field of mlp 'depths'": ((RESNET, 0, {"name": "mlp", "depths": 3}), {}),
    "unknown field of compose, with the source 'resnet18': 'colour'": ((RESNET, 0, MLP), {"colour": 3}),
    "target=3: give the name of a model": ((RESNET, 0, 3), {}),
    "source='': give the name of a model": (("", 0, MLP), {}),
    "adapter=-1: give the width": ((RESNET, -1, MLP), {}),
    "adapter='wide': give the width": ((RESNET, "wide", MLP), {}),
    "is no chain of stages": ((RESNET, 0, f"{__file__}:Plain"), {}),
    "its stage 'head' uses 'embed'": (
        (BERT, 0, {"name": "gpt2", "width": 16, "depth": 1, "num_heads": 2, "vocab_size": 30, "head": "lm"}),
        {"cut": "layer_1", "target_start": "head"},
    ),
}


@pytest.mark.parametrize("said", BAD)
def test_what_does_not_fit_is_told_in_one_line(said):
    (source, adapter, target), fields = BAD[said]
    with pytest.raises(InputError, match=said) as error:
        models.compose(source, adapter, target, num_classes=3, **fields)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with runs of two perceptrons, and one of a model that is made of both, in two phases."""
    folder = tmp_path_factory.mktemp("composed")
    config = tiny_vectors.config_of(folder, steps=1)
    train.run(config, folder / "first")
    config.seed, config.model.fields = 1, {"widths": (8, 6, 6)}
    train.run(config, folder / "last")
    train.run(composed(folder), folder / "run")
    return folder


def composed(folder):
    config = tiny_vectors.config_of(folder)
    config.init = str(folder / "first")
    config.init_parts.target = str(folder / "last")
    config.model.name = "compose"
    config.model.fields = {"source": "", "target": "", "adapter": 8, "target_start": "hidden2"}
    config.optim.weight_decay = 0.1
    config.optim.layer_decay = 0.9
    config.phases = [
        configs.phase("probe", trainable="(adapter|head)/.*", steps=1, cache=True),
        configs.phase("more", trainable="(adapter|hidden3|head)/.*", steps=1),
    ]
    return config


def flat(folder):
    return trees.flatten(runs.open(folder).variables("last"))


def test_the_parameters_of_the_parts_are_those_of_their_checkpoints(run):
    """And what is frozen stays so to the bit, with weight decay."""
    model = runs.open(run / "run").model
    assert model.stages == ("hidden1", "hidden2", "adapter", "target_hidden2", "hidden3", "head")
    first, last, whole = (flat(run / name) for name in ("first", "last", "run"))
    for leaf in ("kernel", "bias"):
        for mine, its, theirs in (("hidden1", first, "hidden1"), ("hidden2", first, "hidden2")):
            assert np.array_equal(whole[f"params/{mine}/dense/{leaf}"], its[f"params/{theirs}/dense/{leaf}"])
        one, other = whole[f"params/target_hidden2/dense/{leaf}"], last[f"params/hidden2/dense/{leaf}"]
        assert np.array_equal(one, other)
        assert not np.array_equal(whole[f"params/hidden3/dense/{leaf}"], last[f"params/hidden3/dense/{leaf}"])
    rows = next(line for line in runs.open(run / "run").lines if line.get("event") == "phase_start")["table"]
    sources = {row["group"].split("/")[0]: row["source"] for row in rows}
    assert sources == {**dict.fromkeys(model.stages, "loaded"), "adapter": "re-initialised"}


def test_a_composed_run_goes_on_and_is_predicted_from(run, tmp_path):
    before = flat(run / "run")
    train.run(composed(run), run / "run")  # it has ended, and stays as it is
    assert all(np.array_equal(before[path], leaf) for path, leaf in flat(run / "run").items())
    probs, _ = predict.predict(run / "run", ["1,2,3,4,5,6"])
    assert probs.shape == (1, 3)
    again = composed(run)
    again.init, again.init_parts, again.phases = str(run / "run"), {}, again.phases[:1]
    again.model.name, again.model.fields = "", {}
    train.run(again, tmp_path / "again")
    path = "params/hidden3/dense/kernel"
    assert np.array_equal(flat(tmp_path / "again")[path], before[path])


def test_a_composed_run_is_exported_and_read_back(run, tmp_path):
    export.main(["export", str(run / "run"), str(tmp_path / "new"), "--format=safetensors"])
    model, variables, report = weights.restore(tmp_path / "new")
    assert model.stages == runs.open(run / "run").model.stages
    assert not report.reinitialised
    held = trees.flatten(runs.open(run / "run").variables())
    assert all(np.array_equal(held[path], leaf) for path, leaf in trees.flatten(variables).items())
    with pytest.raises(InputError, match="no library has the model 'compose'"):
        export.main(["export", str(run / "run"), str(tmp_path / "other"), "--format=hf"])
    assert not (tmp_path / "other").exists()


def test_parts_are_what_their_files_say(run, tmp_path):
    """A source of a library's names, and a target from scratch."""
    shapes = {"net.0.weight": (5, 6), "net.0.bias": (5,), "net.2.weight": (3, 5), "net.2.bias": (3,)}
    save_file({name: np.ones(shape, np.float32) for name, shape in shapes.items()}, tmp_path / "net.safetensors")
    config = composed(run)
    config.init, config.init_parts = str(tmp_path / "net.safetensors"), {}
    config.model.fields = {"source": "mlp", "target": {"name": "mlp", "widths": [4]}}
    config.phases = [configs.phase("probe", trainable="(target_hidden1|head)/.*", steps=1)]
    train.run(config, tmp_path / "run")
    whole = runs.open(tmp_path / "run")
    assert whole.model.stages == ("hidden1", "target_hidden1", "head")
    assert np.array_equal(whole.variables("last")["params"]["hidden1"]["dense"]["kernel"], np.ones((6, 5)))


def test_cached_features_save_the_work_of_the_source():
    model = models.compose(RESNET, 12, MLP, num_classes=3)
    variables = jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    x = jax.eval_shape(lambda: model.example_input(8))
    features = jax.eval_shape(lambda v, x: forward.apply(model, v, x, stop="adapter")[0], variables, x)

    def flops(inputs, **cut):
        run = jax.jit(steps.make_eval_step(model, **cut))
        batch = {"inputs": inputs, "label": jnp.zeros(8, jnp.int32)}
        return run.lower(variables, batch).cost_analysis()["flops"]

    assert flops(features, start="adapter") < 0.02 * flops(x)


def made(**fields):
    return {"model": {"name": "compose", "fields": {"source": "", "target": "", **fields}}}


WRONG = {
    "unknown part in init_parts 'targets'": {"init_parts": {"targets": "x"}},
    r"init_parts\.target=3 must be a path": {"init_parts": {"target": 3}},
    "init is of the part 'source'": {"init_parts": {"source": "x"}},
    "init_parts is for models that are made of others": {"model": {"name": "mlp"}},
    "name the model of the part 'source', or give its weights in init": {"init": "scratch", "init_parts": {}},
    "nothing.safetensors": {"init_parts": {"target": "nothing.safetensors"}},
    r"gives \[B, 5\], and mlp takes \[B, 6\] at 'hidden1'; set adapter=6 or adapter=True": made(adapter=5),
    "unknown target_start: stage of mlp 'hidden9'": made(target_start="hidden9"),
    "takes image, and these are vectors": {**made(source="resnet18", adapter=True), "init": "scratch"},
}


@pytest.mark.parametrize("said", WRONG)
def test_bad_parts_of_a_run_are_told_before_it_begins(run, tmp_path, said):
    config = composed(run).to_dict()
    for name, value in WRONG[said].items():
        config[name] = {**config[name], **value} if name == "model" else value
    with pytest.raises(InputError, match=said):
        train.run(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_code_that_a_part_names_is_not_run(run, tmp_path):
    folder = tmp_path / "stranger"
    shutil.copytree(run / "run", folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for part in ({"target": {"name": f"{folder}/evil.py:f"}}, {"source": f"{folder}/evil.py:f"}):
        content["model"]["fields"] = {"source": "mlp", "target": {"name": "mlp"}, **part}
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="lies in the run's own folder"):
            runs.open(folder)
    assert not (tmp_path / "ran").exists()
