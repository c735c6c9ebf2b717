"""Classifiers of texts with any pooling are exported so that sentence-transformers gives their logits."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.exporting import export
from jtransfer.weights.identify import manifest

SMALL = {"vocab_size": 61, "max_length": 24, "width": 24, "depth": 1, "num_heads": 2, "mlp_dim": 32}
CASES = [
    ("bert_base", "unit_mean"),
    ("bert_base", "mean"),
    ("bert_base", "max"),
    ("bert_base", "cls"),
    ("roberta_base", "unit_mean"),
    ("roberta_base", "pooler"),
    ("distilbert_base", "mean"),
    ("distilbert_base", "unit_mean"),
]
CLASSES = ("bad", "so-so", "good")
TEXTS = ["w7 w2 w3", "w5", "w9 w4 w60 w3 w17 w20"]


def store(name, pooling, folder):
    """A small classifier of texts, as a checkpoint of ours."""
    model = models.create(name, 3, pooling=pooling, **SMALL)
    inputs = model.example_input(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs))
    draw = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: draw.normal(0, 0.2, leaf.shape).astype(np.float32), shapes)
    folder.mkdir(parents=True)
    weights.save(variables, model, folder / "model.safetensors", scheme="jtransfer")
    report = weights.load(trees.flatten(variables), model)[1]
    manifest.write(folder, manifest.describe(name, model, report, CLASSES))
    return folder, model, variables


@pytest.mark.parametrize(("name", "pooling"), CASES)
def test_a_classifier_with_another_pooling_comes_back(name, pooling, tmp_path):
    source, model, variables = store(name, pooling, tmp_path / "source")
    export.export(source, tmp_path / "hf", "hf")
    listed = json.loads((tmp_path / "hf" / "modules.json").read_text())
    kinds = [entry["type"].rpartition(".")[2] for entry in listed]
    assert kinds[:2] == ["Transformer", "Pooling"]
    assert ("Normalize" in kinds) == (pooling == "unit_mean")
    assert kinds[-1] == "Dense"
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert tuple(config["id2label"].values()) == CLASSES
    assert config["architectures"][0].endswith("Model")
    assert not any("classifier" in tensor for tensor in load_file(tmp_path / "hf" / "model.safetensors"))
    again, back, report = weights.restore(tmp_path / "hf")
    assert (again, report.reinitialised) == (model, ())
    for path, leaf in trees.flatten(variables).items():
        np.testing.assert_allclose(trees.flatten(back)[path], leaf, rtol=3e-7, err_msg=path)


def test_the_dense_layer_makes_up_for_the_length_of_a_normalised_mean(tmp_path):
    source, _, variables = store("bert_base", "unit_mean", tmp_path / "source")
    export.export(source, tmp_path / "hf", "hf")
    dense = load_file(tmp_path / "hf" / "classifier" / "model.safetensors")
    head = variables["params"]["head"]["dense"]
    mean = np.random.default_rng(1).normal(size=24)
    ours = mean / np.sqrt((mean**2).mean()) @ head["kernel"] + head["bias"]
    theirs = dense["linear.weight"] @ (mean / np.linalg.norm(mean)) + dense["linear.bias"]
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)


LIVE = """
import json, sys, warnings
import torchvision_stubs
warnings.simplefilter("ignore")
from sentence_transformers import SentenceTransformer
for folder in sys.argv[1:]:
    model = SentenceTransformer(folder, device="cpu")
    print(json.dumps(model.encode(TEXTS, convert_to_numpy=True).tolist()))
    print(json.dumps(list(model[0].auto_model.config.id2label.values())))
"""


def tokenizer(folder):
    """A tokenizer of whole words, w0 to w60; the second is what fills up texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({f"w{i}" if i != 1 else "[PAD]": i for i in range(61)}, "w2"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 24}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))


@pytest.mark.live
def test_sentence_transformers_gives_the_logits(tmp_path):
    expected = []
    for i, (name, pooling) in enumerate(CASES):
        source, model, variables = store(name, pooling, tmp_path / f"source{i}")
        tokenizer(source)
        export.export(source, tmp_path / f"hf{i}", "hf")
        ids = np.full((3, 6), model.pad)
        for row, text in zip(ids, TEXTS, strict=True):
            words = [int(word[1:]) for word in text.split()]
            row[: len(words)] = words
        mask = np.arange(6) < np.array([[len(text.split())] for text in TEXTS])
        ids = np.where(mask, ids, model.pad).astype(np.int32)
        expected.append(jax.jit(model.apply)(variables, {"input_ids": ids, "attention_mask": mask.astype(np.int32)}))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LIVE.replace("TEXTS", repr(TEXTS)),
            *(str(tmp_path / f"hf{i}") for i in range(len(CASES))),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "MISSING" not in done.stderr
    assert "UNEXPECTED" not in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for case, want, found, names in zip(CASES, expected, lines[::2], lines[1::2], strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5, err_msg=str(case))
        assert tuple(names) == CLASSES
