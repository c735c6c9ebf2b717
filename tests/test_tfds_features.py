"""The features.json of a prepared data set imports nothing but TFDS's own classes."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from jtransfer import data
from jtransfer.core.errors import InputError

ROOT = "tensorflow_datasets.core.features."
DICT, LIST, TEXT = (
    f"{ROOT}{name}" for name in ("features_dict.FeaturesDict", "sequence_feature.Sequence", "text_feature.Text")
)
EVIL = {"pythonClassName": "evil.Feature", "text": {}}
SNAKE = {"python_class_name": "evil.Feature", "text": {}}
OLD = {"type": "evil.Feature", "content": {}}


def of(feature, kind=DICT):
    return {"pythonClassName": kind, "featuresDict": {"features": {"text": feature}}}


HOSTILE = {
    "inside": of(EVIL),
    "in snake case": of(SNAKE),
    "outside": of({"pythonClassName": TEXT, "text": {}}, "evil.Feature"),
    "in a list": of({"pythonClassName": LIST, "sequence": {"feature": EVIL}}),
    "in lists in dicts": of(of({"pythonClassName": LIST, "sequence": {"feature": of(EVIL)}})),
    "in the older form": OLD,
    "in the older form, inside": {"type": DICT, "content": {"text": OLD}},
    "in a text of JSON": of({"pythonClassName": DICT, "jsonFeature": {"json": json.dumps({"text": OLD})}}),
    "without a class": of({"text": {}}),
    "no object": [1],
    "no JSON": "{",
    "deep": "[" * 100_000,
}


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_module_that_features_name_is_never_imported(case, tmp_path, monkeypatch):
    source = next(Path(os.environ["TFDS_DATA_DIR"]).glob("mnist/*/features.json")).parent
    folder = tmp_path / "sets" / "mnist" / source.name
    folder.mkdir(parents=True)
    shutil.copyfile(source / "dataset_info.json", folder / "dataset_info.json")
    content = HOSTILE[case]
    (folder / "features.json").write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"features\.json .*prepare the data set again"):
        data.open({"name": "mnist", "dir": str(tmp_path / "sets")}, "train")
    assert not (tmp_path / "mark").exists()
    assert "evil" not in sys.modules
