"""Several streams in one run: batches are pure functions of seed and step, and train what is promised."""

import collections
import itertools
import json
import re

import jax
import numpy as np
import pytest
import small
import test_resume as resuming

from jtransfer import checkpoint, export, objectives, predict, rules, runs, step, train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.data import mixture
from jtransfer.runs import batches, build, config_file, feed, log
from jtransfer.training.streams import StreamStep

CONFIG = str(resuming.ROOT / "tests/tiny_streams.py")


def config_of(mode="batch", *overrides):
    return config_file.load(f"{CONFIG}:{mode}", [f"--config.{override}" for override in overrides])


def test_shares_are_given_or_told_by_the_sizes():
    sizes = {"target": 100, "a": 400, "b": 900}
    assert mixture.shares(sizes, {}, 1.0) == pytest.approx({"target": 1 / 14, "a": 4 / 14, "b": 9 / 14})
    assert mixture.shares(sizes, {}, 2.0) == pytest.approx({"target": 1 / 6, "a": 2 / 6, "b": 3 / 6})
    assert mixture.shares(sizes, {"a": 0.5}, 1e9) == pytest.approx({"target": 0.25, "a": 0.5, "b": 0.25})
    with pytest.raises(InputError, match="must sum to less than 1"):
        mixture.shares(sizes, {"a": 0.5, "b": 0.5}, 1.0)


def test_a_batch_is_shared_in_whole_parts():
    assert mixture.batch_sizes({"target": 0.5, "a": 0.5}, 16, 4) == {"target": 8, "a": 8}
    assert mixture.batch_sizes({"target": 0.7, "a": 0.2, "b": 0.1}, 80, 8) == {"target": 56, "a": 16, "b": 8}
    with pytest.raises(InputError, match="take at least 80"):
        mixture.batch_sizes({"target": 0.9, "a": 0.1}, 32, 8)


@pytest.mark.parametrize("shares", [{"target": 0.5, "a": 0.5}, {"target": 0.13, "a": 0.62, "b": 0.25}], ids=len)
def test_streams_take_turns_evenly(shares):
    order = mixture.turns(shares)
    seen = collections.Counter()
    for number in range(250):
        name, turn = order.at(number)
        assert turn == seen[name] == order.before(number, name)
        seen[name] += 1
        for other, share in shares.items():
            assert abs(seen[other] - share * (number + 1)) <= 1.5
    assert {name: round(count / 250, 1) for name, count in seen.items()} == {
        name: round(share, 1) for name, share in shares.items()
    }


def some_batches(mode, start, number, process=(0, 1)):
    config = config_of(mode, "phases[0].cache=false")
    run = build.prepare(config, "/nowhere")
    place = {"process_index": process[0], "process_count": process[1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "processes", lambda: place)
        iterator = feed.Feed(run, run.phases[0]).train_batches(start)
        found = list(itertools.islice(iterator, number))
        iterator.close()
    return found


@pytest.mark.parametrize("mode", ["batch", "alternate"])
def test_a_batch_is_the_same_wherever_it_begins_and_on_any_number_of_processes(mode):
    whole = some_batches(mode, 0, 8)
    later = some_batches(mode, 5, 3)
    halves = [some_batches(mode, 0, 8, (rank, 2)) for rank in range(2)]
    for number, batch in enumerate(whole):
        if number >= 5:
            jax.tree.map(np.testing.assert_array_equal, later[number - 5], batch)
        both = jax.tree.map(lambda *parts: np.concatenate(parts), *(half[number] for half in halves))
        jax.tree.map(np.testing.assert_array_equal, both, batch)
    sizes = [{name: len(part["index"]) for name, part in batch.items()} for batch in whole]
    expected = [{"target": 8, "other": 8}] if mode == "batch" else [{"target": 16}, {"other": 16}]
    assert [size for size, _ in itertools.groupby(sizes)][: len(expected)] == expected
    numbers = [part["index"].tolist() for batch in whole for part in batch.values()]
    assert len(set(map(tuple, numbers))) == len(numbers)


def test_one_head_for_all_is_one_batch_of_all():
    """Two streams that share all are trained as one batch of both."""
    model, variables = small.model_of("resnet"), small.variables_of("resnet")
    mask = rules.trainable(".*", variables["params"], model.stages)
    whole = small.batch_of(16)
    parts = {name: jax.tree.map(lambda x, i=i: x[8 * i : 8 * i + 8], whole) for i, name in enumerate(("target", "b"))}
    loss = objectives.create("softmax")
    streams = {name: objectives.Stream(loss, lambda *_: {}) for name in parts}
    total = objectives.make([("task", 1.0)], objectives.Context(model, streams, 1))
    begun, alone = small.training(model, variables, ".*", name="sgd")
    tx = small.optim.make(
        small.OPTIM | {"name": "sgd"},
        {"params": variables["params"]},
        total_steps=10,
        trainable={"params": mask},
        stages=model.stages,
    )
    together = step.make_train_step(
        model, tx, total, trainable=mask, streams={name: StreamStep() for name in parts}, ema=0.9
    )
    one, first = alone(begun, whole)
    two, second = jax.jit(together)(begun, parts)
    assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-5)
    assert float(second["loss"]) == pytest.approx(float(second["target/loss"] + second["b/loss"]) / 2, rel=1e-5)
    for a, b in zip(jax.tree.leaves(one.trainable), jax.tree.leaves(two.trainable), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(jax.tree.leaves(one.model_state), jax.tree.leaves(two.model_state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["batch", "alternate"])
def test_stopped_after_each_checkpoint_it_ends_with_the_same_bits(mode, tmp_path, monkeypatch):
    config = config_of(mode)
    train.run(config, tmp_path / "whole")
    ended = False
    while not ended:
        with monkeypatch.context() as patch:
            resuming.stop_after_saves(patch, 2)
            try:
                train.run(config, tmp_path / "stopped")
                ended = True
            except resuming.Stopped:
                pass
    assert resuming.lines(tmp_path / "stopped") == resuming.lines(tmp_path / "whole")
    whole, stopped = resuming.bits(tmp_path / "whole"), resuming.bits(tmp_path / "stopped")
    assert stopped == whole
    assert {path for path in whole if "aux/heads/other" in path}


def test_two_processes_train_what_one_does(tmp_path):
    one = resuming.start(tmp_path / "one", config=CONFIG, devices=2, **resuming.CACHED)
    resuming.finish(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "TWO_PHASES", CONFIG)
        for process in resuming.cluster(tmp_path / "two", **resuming.CACHED):
            resuming.finish(process)
    assert resuming.bits(tmp_path / "two") == resuming.bits(tmp_path / "one")
    assert resuming.lines(tmp_path / "two") == resuming.lines(tmp_path / "one")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams") / "run"
    train.run(config_of(), folder)
    return folder


def test_a_head_of_its_own_is_trained_and_stays_in_the_run(run, tmp_path):
    held = trees.flatten(checkpoint.load_params(run))
    assert held["aux/heads/other/dense/kernel"].shape == held["params/head/dense/kernel"].shape
    assert not np.allclose(held["aux/heads/other/dense/kernel"], held["params/head/dense/kernel"])
    rows = [line["table"] for line in log.read(run) if line.get("event") == "phase_start"]
    assert [row["status"] for row in rows[0] if row["group"] == "aux/heads/other"] == ["trainable"]
    assert "aux" not in runs.open(run).variables()
    export.main(["export", str(run), str(tmp_path / "new"), "--format=safetensors"])
    assert not re.search("aux", (tmp_path / "new/source.json").read_text())
    config = config_of("batch", f"init={run}", "phases[0].steps=1", "phases[1].steps=1")
    config.streams = {}
    train.run(config, tmp_path / "next")
    loaded = next(line for line in log.read(tmp_path / "next") if line.get("event") == "init")
    assert (loaded["reinitialised"], loaded["ignored"]) == ([], [])


def test_both_streams_are_logged_and_the_target_is_evaluated(run):
    lines = log.read(run)
    trained = [line for line in lines if line.get("split") == "train"]
    names = {"loss", "accuracy", "target/loss", "other/loss", "other/accuracy"}
    assert all(names <= set(line) for line in trained)
    for line in trained:
        assert line["loss"] == pytest.approx((line["target/loss"] + line["other/loss"]) / 2, rel=1e-5)
    assert {line["split"] for line in lines if "split" in line} == {"train", "test"}
    assert json.loads((run / "config.json").read_text())["streams"]["other"]["data"]["train"] == "train[100:164]"
    assert predict.load(run).class_names == runs.open(run).class_names


def test_streams_of_other_shapes_and_tasks_have_a_pass_and_a_head_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 20, 24, 3), np.uint8)
    np.savez(tmp_path / "numbers.npz", images=images, labels=images.mean((1, 2, 3)) / 255)
    config = config_of("batch", "phases[0].cache=false")
    section = {"name": f"npz:{tmp_path}/numbers.npz", "train": "all"}
    config.streams = {"numbers": {"data": section, "share": 0.5, "weight": 2.0}}
    config.optim.accumulate = 2 if jax.device_count() == 1 else 1
    train.run(config, tmp_path / "run")
    line = [line for line in log.read(tmp_path / "run") if line.get("split") == "train"][-1]
    assert line["loss"] == pytest.approx((line["target/loss"] + 2 * line["numbers/loss"]) / 2, rel=1e-4)
    kernel = trees.flatten(checkpoint.load_params(tmp_path / "run"))["aux/heads/numbers/dense/kernel"]
    assert kernel.shape == (16, 1)


WRONG = {
    "streams.other.head=mine": "give 'own' or 'shared'",
    "streams.other.share=1.5": "share must be at least 0 and below 1",
    "streams.other.data.name=embedded:none": "unknown embedded data set",
    "streams.other.data.trian=x": "'trian'; nearest: train",
    "streams.other.shar=0.5": "'shar'; nearest: share",
    "mixing.mode=both": "unknown mixing.mode",
    "mixing.temperature=0": "must be more than 0",
    "batch_size=8": "take at least 16",
    "streams.other.data.transform=resize(32)": "the model can't take inputs of the shape [1, 32, 32, 3]",
    "data.transform=resize(32)": "the model can't take inputs of the shape [1, 32, 32, 3]",
}


def test_a_stream_is_not_called_as_the_target_is(tmp_path):
    config = config_of()
    config.streams = {"target": {"share": 0.5}}
    with pytest.raises(InputError, match="not 'target'"):
        train.run(config, tmp_path / "run")


@pytest.mark.parametrize("override", WRONG)
def test_what_is_wrong_is_said_before_anything_is_written(override, tmp_path):
    with pytest.raises(InputError, match=re.escape(WRONG[override])):
        train.run(config_of("batch", override), tmp_path / "run")
    assert not (tmp_path / "run").exists()
