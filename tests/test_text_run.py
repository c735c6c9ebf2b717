"""Runs on texts, from the command's function to the metrics: every task learns, ends and is predicted with."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import config as configs
from jtransfer import generate, metrics, predict, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.reporting import page as report
from jtransfer.runs import assemble, build, feed, log

WORDS = ("good", "bad", "fine", "poor", "day", "night", "very", "the")
STILL = {"dropout": 0.0, "attention_dropout": 0.0}  # what is learnt in a minute is not to hang on what is drawn
TINY = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16} | STILL
COLUMNS = {
    "classify": lambda i: {"text": f"the day {WORDS[i % 2]}", "label": WORDS[i % 2]},
    "regress": lambda i: {"text": f"the day {WORDS[i % 4]}", "label": (i % 4) / 2},
    "multi_label": lambda i: {
        "text": f"the {WORDS[i % 4]} {WORDS[i % 3]}",
        "label": sorted({WORDS[i % 4], WORDS[i % 3]}),
    },
    "tag": lambda i: {"tokens": ["the", WORDS[i % 4]], "label": ["O", "B-X"]},
    "embed": lambda i: {"text": f"{WORDS[i % 8]} day", "text_pair": f"{WORDS[i % 8]} night"},
    "lm": lambda i: {"text": " ".join(WORDS[i % 4 :])},
    "seq2seq": lambda i: {"text": f"the {WORDS[i % 4]}", "target": f"{WORDS[i % 4]} day"},
}
MODELS = {"lm": ("gpt2", TINY | {"mlp_dim": 64}), "seq2seq": ("t5_small", {})}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "[SEP]", "tokenizer_class": "BertTokenizer"}')
    return folder


def config_of(task, folder, tokenizer):
    (folder / "set.jsonl").write_text("\n".join(json.dumps(COLUMNS[task](i)) for i in range(32)))
    config = configs.default()
    config.data.name = f"jsonl:{folder}/set.jsonl"
    config.data.train, config.data.test = "all[:24]", "all[24:]"
    config.data.tokenizer = str(tokenizer)
    config.data.label_key = "" if task in ("lm", "embed") else "label"
    config.data.pair_key = "text_pair" if task == "embed" else ""
    config.data.target_key = "target" if task == "seq2seq" else ""
    config.data.length = config.data.target_length = 8
    config.model.name, fields = MODELS.get(task, ("bert_tiny", TINY))
    config.model.fields.update(
        {**fields, "vocab_size": 13, "max_length": 32} if task != "seq2seq" else {"vocab_size": 13}
    )
    if task == "seq2seq":
        config.model.fields.update({"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "head_dim": 8} | STILL)
    config.batch_size = 8
    config.optim.lr = 3e-2
    config.eval_every = 60
    config.phases = [configs.phase("finetune", steps=60)]
    return config


@pytest.mark.parametrize("task", COLUMNS)
def test_every_task_is_told_by_the_data_learns_and_predicts(task, tmp_path, tokenizer, capsys):
    scalars = train.run(config_of(task, tmp_path, tokenizer), tmp_path / "run")
    assert json.loads((tmp_path / "run/config.json").read_text())["task"] == task
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line.get("split") == "train"]
    assert losses[-1] < losses[0]
    assert np.isfinite(list(scalars.values())).all()
    page = report.write(tmp_path / "run").read_text()
    assert ("accuracy" in page.lower()) == (task in ("classify", "multi_label", "tag"))
    assert ("What it writes" in page) == (task == "seq2seq")
    assert ("is furthest from" in page) == (task == "regress")
    assert "images" not in page
    assert ('class="tokens"' in page) == (task == "regress")
    assert "What became of the examples" in page
    if task == "classify":
        probs, names = predict.predict(tmp_path / "run", ["the day good", "the day bad"])
        assert [names[i] for i in probs.argmax(1)] == ["good", "bad"]
    given = ["the good", "the bad"] if task == "tag" else ["the day good", "the day bad"]
    run_command(predict.main, ["predict", f"--workdir={tmp_path}/run", f"--save={tmp_path}/said.npz", *given])
    lines = capsys.readouterr().out.splitlines()[-2:]
    with np.load(tmp_path / "said.npz") as said:
        assert said["given"].tolist() == given
        found = dict(said)
    if task == "regress":
        assert lines[0].split()[-1] == f"{found['logits'][0, 0]:.4g}"
        assert found["logits"][0, 0] < found["logits"][1, 0] - 0.2
    if task == "multi_label":
        assert lines[0].split()[3:5] == ["good", f"{1 / (1 + np.exp(-found['logits'][0].max())):.3f}"]
    if task == "tag":
        assert lines == ["the/O good/B-X", "the/O bad/B-X"]
    if task == "embed":
        assert found["embeddings"].shape == (2, 2, 16)
        assert lines[0].startswith("the day good  ")
        assert lines[0].endswith(" the day bad")
    if task in ("lm", "seq2seq"):
        assert found["written"].tolist() == lines
    if task == "lm":
        goes_on = predict.table(tmp_path / "run", ["fine poor", "poor day night very"])[0]["written"].tolist()
        assert goes_on == ["day night very the", "the"]
    assert "the day good" in lines[0] or task in ("lm", "seq2seq", "tag")


def test_translations_are_measured_by_what_is_written_compiled_once_a_width(tmp_path, tokenizer):
    config = config_of("seq2seq", tmp_path, tokenizer)
    rows = [COLUMNS["seq2seq"](i) for i in range(32)]
    rows[31]["text"] = " ".join(["the", *["very"] * 40, WORDS[3]])  # in a wider bucket than the others
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config.data.length, config.data.train, config.data.test = 64, "all[:16]", "all[16:]"
    config.generate.num_examples, config.eval_every = 12, 40
    config.phases = [configs.phase("first", steps=80), configs.phase("second", steps=20)]
    before = generate.compiled._cache_size()
    scalars = train.run(config, tmp_path / "run")
    assert generate.compiled._cache_size() == before + 2
    assert scalars["chrf"] > 90
    with np.load(tmp_path / "run/predictions.npz") as kept:
        texts, targets, written = (kept[name].tolist() for name in ("text", "target", "written"))
    assert len(texts) == len(written) == 12
    assert set(targets) <= {f"{word} day" for word in WORDS}
    assert dict(metrics.translation(written, targets)) == {name: scalars[name] for name in ("bleu", "chrf")}
    assert predict.table(tmp_path / "run", texts[:2])[0]["written"].tolist() == written[:2]
    lines = log.read(tmp_path / "run")
    assert [line["step"] for line in lines if "chrf" in line and "split" in line] == [40, 80, 100]


def test_a_run_writes_as_its_config_says(tmp_path, tokenizer):
    config = config_of("seq2seq", tmp_path, tokenizer)
    config.generate.fields.num_beems = 2
    with pytest.raises(InputError, match=r"num_beems.*nearest: num_beams"):
        train.run(config, tmp_path / "run")
    config = config_of("seq2seq", tmp_path, tokenizer)
    config.generate.fields = {"suppress_tokens": [5 + WORDS.index("day")], "num_beams": 2}
    train.run(config, tmp_path / "run")
    with np.load(tmp_path / "run/predictions.npz") as kept:
        assert not any("day" in text for text in kept["written"])
    assert "day" not in predict.table(tmp_path / "run", ["the good"])[0]["written"][0]


def test_texts_that_share_rows_lose_as_alone_and_may_see_each_other(tmp_path, tokenizer):
    found = {}
    for packing in ("", "segmented", "concatenated"):
        config = config_of("lm", tmp_path, tokenizer)
        config.model.fields.max_length = config.data.length = 96
        config.data.packing = packing
        if packing:
            config.init, config.optim.lr = str(tmp_path / "run"), 0.0
            config.phases = [configs.phase("still", steps=1)]
        found[packing] = train.run(config, tmp_path / f"run{packing}")
    with np.load(tmp_path / "runsegmented/predictions.npz") as kept:
        assert len(kept["index"]) == 1  # the 8 texts fit into one row
    assert found["segmented"]["loss"] == pytest.approx(found[""]["loss"], rel=1e-4)
    assert found["concatenated"]["loss"] != pytest.approx(found[""]["loss"], rel=1e-2)
    assert found["segmented"]["perplexity"] == pytest.approx(np.exp(found["segmented"]["loss"]))
    config.data.length = 97
    with pytest.raises(InputError, match=r"data\.length=97.*96 positions"):
        train.run(config, tmp_path / "other")
    config.data.packing = "loose"
    with pytest.raises(InputError, match=r"unknown data\.packing 'loose'"):
        train.run(config, tmp_path / "other")


@pytest.mark.parametrize(
    ("task", "known"),
    [
        ("classify", "matthews"),
        ("regress", "pearson"),
        ("tag", "entity_f1"),
        ("embed", "retrieval"),
        ("seq2seq", "chrf"),
    ],
)
def test_the_metric_that_decides_is_known_before_training(task, known, tmp_path, tokenizer):
    config = config_of(task, tmp_path, tokenizer)
    config.early_stop.metric = f"{known}s"
    with pytest.raises(InputError, match=rf"unknown early_stop\.metric '{known}s'; nearest: {known}"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_texts_are_given_with_a_tab_in_between(tmp_path, tokenizer):
    config = config_of("classify", tmp_path, tokenizer)
    rows = [{"a": "the day", "b": WORDS[i % 2], "label": WORDS[i % 2]} for i in range(32)]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config.data.text_key, config.data.pair_key = "a", "b"
    train.run(config, tmp_path / "run")
    probs, names = predict.predict(tmp_path / "run", ["the day\tgood", "the day\tbad"])
    assert [names[i] for i in probs.argmax(1)] == ["good", "bad"]


def test_a_run_begins_with_what_another_learnt_and_is_its_model(tmp_path, tokenizer):
    config = config_of("lm", tmp_path, tokenizer)
    config.phases[0].steps = 2
    train.run(config, tmp_path / "first")
    export.export(tmp_path / "first", tmp_path / "exported", "safetensors")
    assert (tmp_path / "exported" / "vocab.txt").read_bytes() == (tokenizer / "vocab.txt").read_bytes()
    second = config_of("lm", tmp_path, tokenizer)
    second.init, second.data.tokenizer, second.model = str(tmp_path / "first"), "", {"name": ""}
    second.phases[0].steps = 1
    train.run(second, tmp_path / "second")
    kept, before = (json.loads((tmp_path / name / "config.json").read_text())["model"] for name in ("second", "first"))
    assert kept == before
    shutil.rmtree(tmp_path / "second" / "tokenizer")
    assert predict.table(tmp_path / "second", ["the day"])[0]["written"].shape == (1,)
    shutil.rmtree(tmp_path / "first" / "tokenizer")
    with pytest.raises(InputError, match="no tokenizer's files beside it"):
        predict.table(tmp_path / "second", ["the day"])
    shutil.copytree(tokenizer, tmp_path / "first" / "tokenizer")
    third = config_of("classify", tmp_path, tokenizer)
    third.init, third.model.name, third.model.fields = str(tmp_path / "first"), "", {"width": 8}
    with pytest.raises(InputError):
        train.run(third, tmp_path / "third")
    third.model.fields = {}
    third.phases[0].steps = 1
    train.run(third, tmp_path / "third")
    assert json.loads((tmp_path / "third/config.json").read_text())["model"]["fields"]["head"] == "classify"


def test_rare_classes_of_texts_are_seen_or_weighed_as_often(tmp_path, tokenizer):
    config = config_of("classify", tmp_path, tokenizer)
    rows = [{"text": f"the day {WORDS[i % 8 == 0]}", "label": WORDS[i % 8 == 0]} for i in range(32)]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config.data.sampling, config.loss.balanced = "balanced", True
    run = build.prepare(config, tmp_path / "run")
    batch = next(feed.Feed(run, run.phases[0]).train_batches(0))
    assert (batch["label"] == 0).sum() == len(batch["label"]) // 2
    labels = run.target.sources["train"].labels
    assert sorted(np.bincount(labels)) == [3, 21]
    loss = assemble.loss(config.loss, run.target)
    gradient = jax.grad(lambda x: loss(x, labels, labels >= 0).value)(jnp.zeros((24, 2)))
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-6)
    assert np.isfinite(list(train.run(config, tmp_path / "run").values())).all()
    tags = config_of("tag", tmp_path, tokenizer)
    tags.data.sampling = "balanced"
    with pytest.raises(InputError, match="the examples have no label each"):
        train.run(tags, tmp_path / "tags")


def test_texts_without_a_tokenizer_and_wrong_tasks_are_told_before_training(tmp_path, tokenizer):
    config = config_of("classify", tmp_path, tokenizer)
    config.data.tokenizer = ""
    with pytest.raises(InputError, match=r"data\.tokenizer"):
        train.run(config, tmp_path / "run")
    config.data.tokenizer, config.task = str(tokenizer), "seq2seq"
    with pytest.raises(InputError, match="target"):
        train.run(config, tmp_path / "run")
    config.task, config.model.fields.vocab_size = "", 9
    with pytest.raises(InputError, match="13 tokens, but the model embeds 9"):
        train.run(config, tmp_path / "run")
    config.task, config.data.label_key, config.model.fields.vocab_size = "lm", "", 13
    with pytest.raises(InputError, match="'bert_tiny' is no model for task='lm'"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
