"""Adapters with all else that a run may do: averages, parts of a batch, sharding, loops over layers, streams, tasks."""

import json

import flax.linen as nn
import numpy as np
import pytest
import tiny_adapters as tiny

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.core import tree as trees
from jtransfer.models import forward
from jtransfer.runs import build
from jtransfer.runs.measure import measure
from jtransfer.training import checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.write_weights(tmp_path_factory.mktemp("weights") / "vit.safetensors")


def moved(before, after):
    """The paths of what differs."""
    before, after = trees.flatten(before), trees.flatten(after)
    return {path for path in after if not np.array_equal(before[path], after[path])}


def test_all_at_once(source, tmp_path):
    config = tiny.config_of(
        source,
        [("all-linear", "lora", {"rank": 8, "dropout": 0.1})],
        sharding="fsdp",
        model__fields__scan=True,
        model__fields__remat=True,
        optim__ema=0.5,
        optim__accumulate=2,
        optim__layer_decay=0.5,
        optim__weight_decay=0.1,
        optim__decay_rules=((".*/kernel|adapters/.*/[ab]", True), (".*", False)),
        optim__rates=(("adapters/.*/b", 16.0), (".*", 1.0)),
        optim__clip=1.0,
        mixup=0.2,
        data__validation="train[32:48]",
        early_stop__patience=3,
        reinit=("head/.*",),
        phases=[configs.phase("adapt", steps=2)],
    )
    config.batch_size = 16
    train.run(config, tmp_path / "run")
    first, last = (checkpoint.load_params(tmp_path / "run", step, average=False) for step in (1, 2))
    changed = moved(first, last)
    assert {path.split("/")[0] for path in changed} == {"adapters", "params"}
    assert {path.split("/")[1] for path in changed if path.startswith("params")} == {"head"}
    assert {path.split("/")[-1] for path in changed if path.startswith("adapters")} == {"a", "b"}
    assert len([path for path in changed if path.endswith("/lora/a")]) == 12
    averaged = checkpoint.load_params(tmp_path / "run", 2)
    assert moved(last, averaged) == changed
    stored = runs.open(tmp_path / "run")
    x = np.linspace(-1, 1, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    adapted, _ = forward.apply(stored.model, stored.variables(), x)
    np.testing.assert_allclose(stored.model.apply(stored.merged(), x), adapted, rtol=1e-4, atol=1e-5)


def test_streams_with_heads_of_their_own_and_a_cache_below_the_first_adapter(source, tmp_path):
    config = tiny.config_of(
        source,
        [("layer_1/.*/kernel", "lora", {"rank": 2})],
        streams={"other": {"data": {"name": "embedded:fashion_mnist", "train": "train[64:96]"}, "head": "own"}},
        phases=[configs.phase("adapt", steps=2, cache=True)],
    )
    train.run(config, tmp_path / "run")
    first, last = (checkpoint.load_params(tmp_path / "run", step) for step in (1, 2))
    changed = {path.split("/lora/")[0].rpartition("/")[0] for path in moved(first, last)}
    assert changed == {"adapters/layer_1/attention", "adapters/layer_1", "params/head/dense", "aux/heads/other/dense"}


def test_frozen_adapters_lie_within_what_is_cached(source, tmp_path):
    rows = [("layer_0/.*/kernel", "lora", {"rank": 2})]
    train.run(tiny.config_of(source, rows, phases=[configs.phase("adapt", steps=1)]), tmp_path / "first")
    before = runs.open(tmp_path / "first").variables()
    again = [configs.phase("probe", trainable="head/.*", cache=True, steps=2)]
    scalars = train.run(tiny.config_of(tmp_path / "first", rows, phases=again), tmp_path / "second")
    after = runs.open(tmp_path / "second")
    assert moved(before, after.variables()) == {"params/head/dense/kernel", "params/head/dense/bias"}
    assert measure(after).metrics["loss"] == pytest.approx(scalars["loss"], rel=1e-4)


class Plain(nn.Module):
    """A model without stages: the layer that is called last is its head."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes, name="classifier")(nn.tanh(nn.Dense(6, name="body")(x.reshape(len(x), -1))))


def prepared(tmp_path, config):
    return [phase.trainable for phase in build.prepare(config, tmp_path / "run").config.phases]


def test_what_is_trained_follows_the_model_and_the_task(source, tmp_path, capsys):
    config = tiny.config_of(source, phases=[configs.phase("adapt", steps=1)])
    assert prepared(tmp_path, config) == ["(adapters|head)/.*"]
    assert "adapters: 'attention' stands for 8 modules: layer_*/attention/query (2)" in capsys.readouterr().out

    config = tiny.config_of("scratch", [("body", "lora")], phases=[configs.phase("adapt", steps=1)])
    config.model.name, config.model.fields = f"{__file__}:Plain", {}
    assert prepared(tmp_path, config) == ["(adapters|classifier)/.*"]


def test_a_head_that_generates_stays_as_it_is(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]) + "\n")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "[SEP]", "tokenizer_class": "BertTokenizer"}')
    (tmp_path / "set.jsonl").write_text("\n".join(json.dumps({"text": "a b a b"}) for _ in range(8)))
    config = configs.default()
    config.task, config.model.name = "lm", "llama3_2_1b"
    small = {"vocab_size": 7, "width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "max_length": 16}
    config.model.fields.update({**small, "num_kv_heads": 1, "head_dim": 8})
    config.data.update({"name": f"jsonl:{tmp_path}/set.jsonl", "train": "all[:6]", "test": "all[6:]", "label_key": ""})
    config.data.update({"tokenizer": str(tmp_path), "length": 8})
    config.adapters = [("all-linear", "lora", {"rank": 2})]
    config.phases = [configs.phase("adapt", steps=1)]
    assert prepared(tmp_path, config) == ["adapters/.*"]


def test_adapters_that_no_phase_trains_are_told(source, tmp_path, capsys):
    build.prepare(
        tiny.config_of(source, phases=[configs.phase("probe", trainable="head/.*", steps=1)]), tmp_path / "run"
    )
    assert "adapters: no phase trains them" in capsys.readouterr().out
