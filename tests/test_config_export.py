"""`config.export`: what can't be exported is told before training; what can is written when the run has ended."""

import json

import pytest
import test_text_run as texts
import tiny_run

from jtransfer import config as configs
from jtransfer import train, weights
from jtransfer.core.errors import InputError
from jtransfer.exporting import at_end
from jtransfer.exporting.export import FORMATS
from jtransfer.runs import build, exportable

tokenizer = texts.tokenizer


def of_images(name, **fields):
    config = tiny_run.get_config("1")
    config.model.name = name
    config.phases[0].cache = False
    config.model.fields = {"image_size": 32, **fields}
    config.data.transform = "resize(32)"
    return config


def of_texts(folder, tokenizer, task="classify", **fields):
    config = texts.config_of(task, folder, tokenizer)
    config.model.fields.update(fields)
    config.phases = [configs.phase("probe", trainable=".*", steps=1)]
    config.export = "hf"
    return config


def test_the_formats_are_those_of_the_command():
    assert set(FORMATS) == {*exportable.LIBRARIES, *exportable.OWN}


IMAGES = {
    "no class of transformers": (("vgg11", {"width": 16}), {"export": "hf"}, "transformers has no VGG"),
    "a pooling of no class": (
        ("vit_tiny_patch16", {"depth": 1, "pooling": "cls+mean"}),
        {"export": "hf"},
        "has pooling=",
    ),
    "no timm": (("resnet18", {"depths": (1, 1)}), {"export": "timm"}, "four stages"),
    "an ensemble": (
        ("ensemble", {"members": {name: {"name": "resnet18", "depths": (1,)} for name in "ab"}}),
        {"export": "hf"},
        "no library has the model 'ensemble'",
    ),
    "composed": (
        ("compose", {"source": {"name": "resnet18", "depths": (1,)}, "target": {"name": "mlp", "widths": (8,)}}),
        {"export": "torchvision"},
        "no library has the model 'compose'",
    ),
    "no format": (("resnet18", {"depths": (1, 1)}), {"export": "tf"}, "'tf'; nearest: tflite, hf, timm"),
    "an adapter that stays": (
        ("vit_tiny_patch16", {"depth": 2}),
        {"export": "hf", "adapters": [("layer_0", "bottleneck", {"dim": 4})]},
        "can't be merged",
    ),
    "the same for any format": (
        ("vit_tiny_patch16", {"depth": 2}),
        {"export": "npz", "adapters": [("layer_0", "bottleneck", {"dim": 4})]},
        "can't be merged",
    ),
}


@pytest.mark.parametrize("case", IMAGES)
def test_what_can_not_be_exported_is_one_line_before_anything_is_written(case, tmp_path):
    (name, fields), changes, says = IMAGES[case]
    config = of_images(name, **fields)
    if name in ("ensemble", "compose"):
        config.model.fields = fields
    config.update(changes)
    config.phases[0].trainable = ".*"
    with pytest.raises(InputError, match="export.*" + says) as found:
        train.run(config, tmp_path / "run")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "fields"),
    [("classify", {"pooling": "unit_mean"}), ("classify", {}), ("tag", {}), ("embed", {}), ("lm", {}), ("seq2seq", {})],
)
def test_texts_can_be_exported(task, fields, tmp_path, tokenizer):
    build.prepare(of_texts(tmp_path, tokenizer, task, **fields), tmp_path / "run")


def test_a_run_is_exported_once_when_it_has_ended(tmp_path, tokenizer, capsys):
    config = of_texts(tmp_path, tokenizer, pooling="unit_mean")
    train.run(config, tmp_path / "run")
    at_end.export_and_tell(tmp_path / "run")
    assert f"export: {tmp_path / 'run' / 'export'} (hf)" in capsys.readouterr().out
    folder = tmp_path / "run" / "export"
    listed = json.loads((folder / "modules.json").read_text())
    assert [entry["path"] for entry in listed] == ["", "1_Pooling", "2_Normalize", "classifier"]
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 8
    assert (folder / "README.md").exists()
    assert (folder / "vocab.txt").exists()
    assert weights.restore(folder)[0].pooled == "unit_mean"
    config.export = "npz"  # is no other run
    train.run(config, tmp_path / "run")
    at_end.export_and_tell(tmp_path / "run")
    assert "is there; to export the run again, delete it" in capsys.readouterr().out
