"""--verify proves a conversion or names the stage at which it departs, by stored activations and by the libraries."""

import live_libraries
import numpy as np
import pytest
import references
from references import decoders, encoders, seq2seq
from safetensors.numpy import load_file, save_file

from jtransfer import convert, models, weights
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.proof import reference, verify
from jtransfer.weights.identify import manifest

TEXTS = {  # stored case → (what writes its folder, what its inputs are, their stored logits)
    "bert_classify": (encoders, lambda: encoders.inputs(7, 0, segments=True), "output 7"),
    "distilbert_tag": (encoders, lambda: encoders.inputs(7, 0, segments=False), "output 7"),
    "t5": (seq2seq, lambda: seq2seq.inputs(7, 5), "logits 7"),
    "marian": (seq2seq, lambda: seq2seq.inputs(7, 5), "logits 7"),
    "gemma2": (
        decoders,
        lambda: dict(zip(("input_ids", "attention_mask"), decoders.texts(7, 61), strict=True)),
        "logits 7",
    ),
}


def exit_code(*argv):
    try:
        run_command(convert.main, ["convert", *map(str, argv), "--verify"])
    except SystemExit as stopped:
        return stopped.code
    return 0


def stages_of(out):
    return [line.split()[0] for line in out.split("compared with")[1].splitlines() if " absolute " in line]


def departure(out):
    (line,) = (line for line in out.splitlines() if line.startswith("departs first at "))
    return line.removeprefix("departs first at ")


def change(folder, name):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {name: np.flip(tensors[name], 0) * 1.5}, file)


@pytest.mark.parametrize("case", TEXTS)
def test_stored_logits_of_texts_prove_the_conversion_and_stored_stages_say_where_it_departs(case, tmp_path, capsys):
    stored, inputs, name = TEXTS[case]
    (tmp_path / "source").mkdir()
    source = stored.write(case, tmp_path / "source")
    given = inputs() | {"logits": stored.load(case)[1][name]}
    np.savez(source / verify.FILE, **given)
    assert exit_code(source, tmp_path / "good") == 0
    assert stages_of(capsys.readouterr().out) == ["logits"]
    model, variables, report = weights.restore(source)
    found = verify.activations(model, variables, inputs())
    assert set(found) == {*model.stages[:-1], "features", "logits"}
    np.savez(source / verify.FILE, **given, **{stage: found[stage] for stage in model.stages[1:-1]})
    (path, (tensor, *_), _), *_ = (entry for entry in report.loaded if "_1/" in entry[0] and "kernel" in entry[0])
    change(source, tensor)
    assert exit_code(source, tmp_path / "bad") == 1
    assert departure(capsys.readouterr().out) == path.split("/")[0]


@pytest.mark.parametrize("case", ["swin_timm_84", "clip_pair_transformers_32", "clip_text_transformers"])
def test_stored_logits_of_images_and_of_images_with_texts(case, tmp_path, capsys):
    stored = references.load(case)
    fields = stored.fields | ({"image_size": stored.size} if stored.size else {})
    model = models.create(stored.model, references.CLASSES, **fields)
    variables, report = weights.load(stored.tensors, model)
    weights.save(variables, model, tmp_path / "model.safetensors", scheme="jtransfer")
    manifest.write(tmp_path, manifest.describe(stored.model, model, report))
    given = stored.inputs if isinstance(stored.inputs, dict) else {"image": stored.inputs}
    given = {{"image": "images"}.get(name, name): x for name, x in given.items()}
    np.savez(tmp_path / verify.FILE, **given, logits=stored.logits)
    assert exit_code(tmp_path, tmp_path / "good") == 0
    assert stages_of(capsys.readouterr().out) == ["logits"]
    np.savez(tmp_path / verify.FILE, **given, logits=stored.logits * 1.1)
    assert exit_code(tmp_path, tmp_path / "bad") == 1
    np.savez(tmp_path / verify.FILE, logits=stored.logits)
    assert exit_code(tmp_path, tmp_path / "none") == 2
    assert f"has no {next(iter(given))}" in capsys.readouterr().err


def test_what_was_drawn_anew_is_not_compared(tmp_path, capsys):
    stored, inputs, name = TEXTS["bert_classify"]
    (tmp_path / "source").mkdir()
    file = stored.write("bert_classify", tmp_path / "source") / "model.safetensors"
    save_file({key: x for key, x in load_file(file).items() if not key.startswith("classifier.")}, file)
    logits = stored.load("bert_classify")[1][name]
    np.savez(file.parent / verify.FILE, **inputs(), logits=logits)
    assert exit_code(file.parent, tmp_path / "none") == 2
    assert "activations.npz has none of features, embed, layer_0, layer_1, pool" in capsys.readouterr().err
    np.savez(file.parent / verify.FILE, **inputs(), logits=logits, pool=np.zeros((len(logits), 32)), embed=np.zeros(1))
    assert exit_code(file.parent, tmp_path / "pool") == 1
    out = capsys.readouterr().out
    assert stages_of(out) == ["pool"]
    assert "what was drawn anew is not compared, nor what comes after it" in out


def test_texts_that_are_made_up_end_and_are_filled_up_as_the_model_says():
    found = verify.example(models.create("marian", vocab_size=9, pad=8, end=0, max_length=6))
    assert found["input_ids"].shape == found["decoder_attention_mask"].shape == (2, 6)
    for ids, mask in ((found[f"{side}input_ids"], found[f"{side}attention_mask"]) for side in ("", "decoder_")):
        np.testing.assert_array_equal(mask.sum(axis=1), [6, 4])
        np.testing.assert_array_equal(ids == 0, np.eye(6, dtype=bool)[[5, 3]])
        np.testing.assert_array_equal(ids == 8, mask == 0)
    alone = verify.example(models.create("llama2_7b", max_length=5))
    assert alone["input_ids"].shape == (1, 5)
    assert alone["attention_mask"].all()


def test_what_is_made_up_has_the_models_own_shapes():
    assert verify.example(models.create("resnet18", image_size=(32, 64), channels=1)).shape == (2, 32, 64, 1)
    pair = verify.example(models.create("clip_base_patch32", image_size=(32, 64)))
    assert (pair["image"].shape, pair["input_ids"].shape) == ((2, 32, 64, 3), (2, 48))
    kinds = verify.example(models.create("bert_base"))["token_type_ids"]
    assert (kinds.shape, set(kinds[1].tolist())) == ((2, 48), {0, 1})
    assert "token_type_ids" not in verify.example(models.create("roberta_base"))


def test_padding_is_not_compared_and_the_nearest_of_several_counts():
    ours = {"layer_0": np.ones((2, 3, 4)), "logits": np.ones((2, 5))}
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    padded = np.where(mask[..., None], 1.0, 9.0) * np.ones(4)
    same, logits = verify.compare(
        ours, {"layer_0": [np.ones((2, 3)), padded * 0, padded], "logits": [ours["logits"]]}, [mask]
    )
    assert same == ("layer_0", 0, 0)
    assert logits.within
    (rows,) = verify.compare({"stage1": np.ones((1, 2, 3, 4))}, {"stage1": [np.ones((1, 6, 4))]})
    assert rows.absolute == 0


def test_small_numbers_are_compared_relatively():
    large, small = np.array([[3.0, 4.0]]), np.array([[3e-7, 4e-7]])
    for numbers, off, good in [(large, 3e-4, True), (large, 5e-4, False), (small, 1e-9, True), (small, 1e-8, False)]:
        (found,) = verify.compare({"logits": numbers}, {"logits": [numbers + off]})
        assert found.within == good, (numbers, off)
    (found,) = verify.compare({"logits": large}, {"logits": [large * np.nan]})
    assert not found.within


def test_without_torch_it_is_asked_for(tmp_path, capsys, monkeypatch):
    source = encoders.write("bert_tag", tmp_path)
    monkeypatch.setattr(reference, "_import", lambda name: (_ for _ in ()).throw(InputError(f"needs {name}")))
    assert exit_code(source, tmp_path / "new") == 2
    assert "needs torch" in capsys.readouterr().err


if not live_libraries.MISSING:
    import live_checkpoints as live


@pytest.mark.filterwarnings("ignore")
@pytest.mark.live
@pytest.mark.parametrize("case", ["none"] if live_libraries.MISSING else live.CASES)
def test_the_library_proves_the_conversion_and_refutes_a_spoilt_one(case, tmp_path, capsys, monkeypatch):
    source = live.write(case, tmp_path / "source")
    assert exit_code(source, tmp_path / "good") == 0
    out = capsys.readouterr().out
    shown = stages_of(out)
    table = [line.split() for line in out.split("compared with")[1].splitlines() if " absolute " in line]
    assert all(min(float(absolute), float(relative)) <= 1e-4 for _, _, absolute, _, relative in table), out
    report = weights.restore(source)[2]
    loaded = [(path.split("/")[0], names[0]) for path, names, shape in report.loaded if len(shape) > 1]
    _, name = next((stage, name) for stage, name in loaded if stage in shown[len(shown) // 3 :])
    stage = min((stage for stage, held in loaded if held == name), key=shown.index)  # one tensor may be of all layers
    check = verify.check

    def of_another(source, *args):
        live.spoil(source.name, name)
        return check(source, *args)

    monkeypatch.setattr(verify, "check", of_another)
    assert exit_code(source, tmp_path / "bad") == 1
    assert departure(capsys.readouterr().out) == stage


def _half(tensors):
    return {name: np.asarray(x * 0.5) for name, x in tensors.items()}


def _put(prefix, tensors):
    return {prefix + name: x for name, x in tensors.items()}


def _without(tensors, prefix):
    return {name: x for name, x in tensors.items() if not name.startswith(prefix)}


def _moco(tensors):
    body = _without(tensors, "fc.") | {"fc.0.weight": np.ones((3, 3), np.float32)}
    return _put("encoder_q.", body) | _put("encoder_k.", _half(body)) | {"queue": np.ones(3, np.float32)}


BESIDE = {"loss.weight": np.ones(3, np.float32)}
NETWORKS = {  # what is around a network → the live case, its tensors → those in the file, sub-tree, options, last stage
    "MoCo": ("resnet18_torchvision", _moco, "", (), "features"),
    "one by name": (
        "resnet18_torchvision",
        lambda x: _put("teacher.", _half(x)) | _put("student.", x),
        ":student",
        (),
        "logits",
    ),
    "timm": ("vit_timm", lambda x: _put("backbone.", _without(x, "head.")) | BESIDE, "", (), "features"),
    "transformers": (
        "bert_classify",
        lambda x: _put("model.", _without(x, "classifier.")) | BESIDE,
        "",
        (),
        "features",
    ),
    "transformers, with a head": ("clip_pair", lambda x: _put("net.", x) | BESIDE, "", (), "logits"),
    "ignored": ("vit_hf", lambda x: x | BESIDE, "", ("--ignore=loss.*",), "logits"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.live
@pytest.mark.parametrize("case", NETWORKS)
def test_the_library_proves_the_network_that_was_taken(case, tmp_path, capsys):
    base, around, branch, options, last = NETWORKS[case]
    source = live.write(base, tmp_path / "source")
    file = next(source.glob("*.safetensors")) if source.is_dir() else source
    save_file(around(load_file(file)), file, {"format": "pt"})
    assert exit_code(f"{source}{branch}", tmp_path / "new", *options) == 0
    out = capsys.readouterr().out
    assert stages_of(out)[-1] == last
    table = [line.split() for line in out.split("compared with")[1].splitlines() if " absolute " in line]
    assert all(min(float(absolute), float(relative)) <= 1e-4 for _, _, absolute, _, relative in table), out
