"""Runs whose frozen kernels are held in fewer bits: trained, resumed, read, gone on from."""

import shutil

import jax
import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.runs import log, predictor
from jtransfer.runs import open as open_run
from jtransfer.runs.measure import measure
from jtransfer.training import checkpoint

HIDDEN = "hidden[12]/dense/kernel"


def config_of(folder, **fields):
    config = tiny_vectors.config_of(folder)
    config.adapters = [(HIDDEN, "lora", {"rank": 2})]
    config.update(fields)
    return config


def test_a_run_holds_its_frozen_kernels_in_four_bits_and_is_read_whole(tmp_path, capsys):
    config = config_of(tmp_path, quantize="nf4")
    scalars = train.run(config, tmp_path / "run")
    assert "quantised: 2 frozen kernels of 112 parameters, 448 → 120 bytes" in capsys.readouterr().out
    held = trees.flatten(checkpoint.load_params(tmp_path / "run"))
    assert {path for path in held if path.startswith("quantized/") and path.endswith("/nf4")} == {
        f"quantized/hidden{i}/dense/kernel/nf4" for i in (1, 2)
    }
    assert not any(path.startswith("params/hidden") and path.endswith("kernel") for path in held)
    run = open_run(tmp_path / "run")
    variables = run.variables()
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
    with np.load(tmp_path / "vectors.npz") as data:
        table = predictor.load(tmp_path / "run")([",".join(map(str, row)) for row in data["x_test"]])
        right = np.argmax(table["probs"], 1) == data["y_test"]
    np.testing.assert_allclose(table["probs"], run.predictions["probs"], atol=1e-6)
    assert np.mean(right) == pytest.approx(scalars["accuracy"])
    started = next(line for line in log.read(tmp_path / "run") if line.get("event") == "phase_start")
    assert (started["trainable"], started["frozen"]) == (87, 128)


def test_it_goes_on_bit_for_bit_and_another_run_begins_with_it(tmp_path):
    config = tiny_vectors.config_of(tmp_path, trainable="head/.*")
    config.quantize = "int8"
    whole, halted, after = tmp_path / "whole", tmp_path / "halted", tmp_path / "after"
    train.run(config, whole)
    train.run(config, halted)
    shutil.rmtree(halted / "checkpoints" / "8")
    train.run(config, halted)
    ends = [trees.flatten(checkpoint.load_params(folder)) for folder in (whole, halted)]
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][path], ends[1][path]) for path in ends[0])
    config.init, config.quantize = str(whole), ""
    train.run(config, after)
    kernels = [open_run(folder).variables()["params"]["hidden1"]["dense"]["kernel"] for folder in (whole, after)]
    np.testing.assert_array_equal(*kernels)


def test_sharded_in_half_precision_in_parts_averaged_and_cached_it_is_the_same_model(tmp_path):
    config = config_of(tmp_path, quantize="nf4", sharding="fsdp", adapters=[("hidden2/.*/kernel", "lora", {"rank": 2})])
    config.model.dtype, config.optim.ema, config.optim.accumulate = "bfloat16", 0.5, 2
    config.phases = [configs.phase("above", steps=2, cache=True)]
    config.eval_every = config.checkpoint_every = 1
    folder = tmp_path / "run"
    scalars = train.run(config, folder)
    ends = [trees.flatten(checkpoint.load_params(folder))]
    shutil.rmtree(folder / "checkpoints" / "2")
    train.run(config, folder)
    ends += [trees.flatten(checkpoint.load_params(folder))]
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][path], ends[1][path]) for path in ends[0])
    assert any(path.endswith("/nf4") for path in ends[0])
    assert measure(open_run(folder)).metrics["loss"] == pytest.approx(scalars["loss"], rel=2e-2)


@pytest.mark.parametrize(
    ("fields", "phase", "says"),
    [
        ({"quantize": "int5"}, "", "quantize"),
        ({"quantize": "nf4"}, ".*", "no kernel stays frozen"),
        ({"quantize": [("hidden1/.*", "nf4")]}, "(adapters|hidden1)/.*", "hidden1/dense/kernel is trained by a phase"),
        ({"quantize": [("hiden1/.*", "nf4")]}, "", "nearest: hidden1/dense/kernel"),
        ({"quantize": [("head/dense/kernel", "nf4")]}, "adapters/.*", "last axis of 3 is odd"),
        ({"quantize": 4}, "", "must be of type str"),
    ],
)
def test_what_can_not_be_is_one_line_before_anything_is_written(tmp_path, fields, phase, says):
    config = config_of(tmp_path, **fields)
    config.phases[0].trainable = phase
    with pytest.raises(InputError, match=says):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
