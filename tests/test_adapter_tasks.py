"""Adapters in runs on texts, task by task: trained, gone on from, read and asked; and texts that leave them no room."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import test_text_run as texts

from jtransfer import config as configs
from jtransfer import predict, runs, train
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.runs import build
from jtransfer.runs.measure import measure
from jtransfer.training import checkpoint

FOLDER = Path(__file__).parent / "references" / "peft"
tokenizer = texts.tokenizer
BART = {"vocab_size": 13, "depth": 1, "decoder_depth": 1, "max_length": 16} | texts.TINY
CASES = {  # task → rows, and what moves
    "regress": ([("attention", "lora", {"rank": 2, "dropout": 0.1})], {"adapters/layer_0", "params/head"}),
    "tag": ([("embed", "prompt", {"length": 2})], {"adapters/embed", "params/head"}),
    "embed": ([("layer_.", "bottleneck", {"dim": 4})], {"adapters/layer_0"}),
    "seq2seq": ([(".*/(attention|cross)", "prefix", {"length": 2})], {"adapters/encoder_0", "adapters/decoder_0"}),
}


def config_of(task, folder, tokenizer, rows, **changes):
    config = texts.config_of(task, folder, tokenizer)
    config.adapters, config.phases = rows, [configs.phase("adapt", steps=2)]
    config.eval_every = config.checkpoint_every = 1
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config


def held(folder, step):
    return trees.flatten(checkpoint.load_params(folder, step))


@pytest.mark.parametrize("task", CASES)
def test_adapters_are_trained_for_every_task(task, tmp_path, tokenizer):
    rows, moving = CASES[task]
    config, folder = config_of(task, tmp_path, tokenizer, rows), tmp_path / "run"
    config.evals = config.evals if task == "regress" else []
    config.generate.num_examples = 0
    scalars = train.run(config, folder)
    first, last = held(folder, 1), held(folder, 2)
    changed = {path for path in last if not np.array_equal(first[path], last[path])}
    assert {"/".join(path.split("/")[:2]) for path in changed} == moving
    if task == "regress":
        shutil.rmtree(folder / "checkpoints" / "2")
        train.run(config, folder)
        again = held(folder, 2)
        assert all(np.array_equal(again[path], last[path]) for path in last)
        assert measure(runs.open(folder)).metrics["loss"] == pytest.approx(scalars["loss"], rel=1e-5)
    found, _ = predict.table(folder, ["the day good", "the day bad"])
    assert {len(array) for array in found.values()} == {2}


def test_an_adapter_of_tied_embeddings_is_merged_by_no_way(tmp_path, tokenizer):
    place, folder = FOLDER / "gpt2_tied", tmp_path / "run"
    config = texts.config_of("lm", tmp_path, tokenizer)
    config.init, config.adapters_init, config.evals = str(place / "base"), str(place / "adapter"), []
    config.model.name, config.model.fields = "", {}
    config.phases = [configs.phase("adapt", steps=1)]
    train.run(config, folder)
    with pytest.raises(InputError, match="embed/tokens: these embeddings are also the head's kernel"):
        runs.open(folder).merged()
    config.init, config.adapters_init = str(folder), ""
    with pytest.raises(InputError, match="embed/tokens: these embeddings are also the head's kernel"):
        train.run(config, tmp_path / "next")


NO_ROOM = {
    "prompt": ("tag", [("embed", "prompt", {"length": 26})], {}, "truncate to 6"),
    "prefix": ("regress", [(".*/attention", "prefix", {"length": 26})], {}, "truncate to 6"),
    "both": (
        "tag",
        [("embed", "prompt", {"length": 9}), (".*/attention", "prefix", {"length": 16})],
        {},
        "truncate to",
    ),
    "wide": ("classify", [("embed", "prompt", {"length": 5})], {"data__length": 32}, "truncate to 27"),
    "rows": ("lm", [(".*/attention", "prefix", {"length": 9})], {"data__length": 24}, "truncate to 23"),
    "pairs": ("embed", [("embed", "prompt", {"length": 25})], {}, "truncate to 7"),
    "decoder": ("seq2seq", [("decoder_0/attention", "prefix", {"length": 9})], {}, "truncate to 7"),
    "writing": ("seq2seq", [("decoder_0/attention", "prefix", {"length": 8})], {}, "truncate to 8"),
}


@pytest.mark.parametrize("case", NO_ROOM)
def test_texts_that_leave_no_room_are_one_line_before_training(case, tmp_path, tokenizer):
    task, rows, changes, says = NO_ROOM[case]
    config = config_of(task, tmp_path, tokenizer, rows, **changes)
    if task == "seq2seq":
        config.model.name, config.model.fields = "bart_base", BART
    with pytest.raises(InputError, match=f"places of an adapter before them are more than .* positions; {says}"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "row",
    [
        ("embed", "prompt", {"length": 4}),
        ("layer_0", "reft", {"rank": 2, "first": 2}),
        ("layer_0", "reft", {"rank": 2, "last": 2}),
    ],
)
def test_an_adapter_that_a_text_can_not_go_on_with_is_one_line_before_training(row, tmp_path, tokenizer):
    with pytest.raises(InputError, match=f"an adapter '{row[1]}'.* can't be used token by token"):
        train.run(config_of("lm", tmp_path, tokenizer, [row]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("row", [(".*/attention", "prefix", {"length": 4}), ("layer_0", "reft", {"rank": 2})])
def test_an_adapter_that_a_text_can_go_on_with_is_prepared(row, tmp_path, tokenizer):
    build.prepare(config_of("lm", tmp_path, tokenizer, [row]), tmp_path / "run")


def test_texts_that_leave_room_are_prepared(tmp_path, tokenizer):
    rows = [("decoder_0/attention", "prefix", {"length": 7})]  # one place more is for the token that a text begins with
    config = config_of("seq2seq", tmp_path, tokenizer, rows)
    config.model.name, config.model.fields = "bart_base", BART
    build.prepare(config, tmp_path / "run")
