"""The model card beside an export: what the hub reads of it, and what it tells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run
from huggingface_hub import ModelCard
from test_sentence_classifier import store, tokenizer

from jtransfer import config as configs
from jtransfer import train
from jtransfer.exporting import base_of, export
from jtransfer.runs.open import StoredRun

LIBRARIES = {
    "hf": "transformers",
    "timm": "timm",
    "torchvision": "pytorch",
    "safetensors": "jtransfer",
    "npz": "jtransfer",
    "orbax": "jtransfer",
    "stablehlo": "jax",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one step."""
    config = tiny_run.get_config("1")
    config.phases[0].steps = 1
    config.model.fields.depths = (1, 1, 1, 1)
    config.model.fields.image_size = 32
    config.data.transform = "resize(32)"
    folder = tmp_path_factory.mktemp("cards") / "run"
    train.run(config, folder)
    return folder


def card(folder):
    """The card, parsed as the hub's client does."""
    return ModelCard.load(folder / "README.md", ignore_metadata_errors=False)


@pytest.mark.parametrize(("format", "library"), list(LIBRARIES.items()))
def test_each_format_has_one(format, library, run, tmp_path):
    export.export(run, tmp_path / "new", format)
    found = card(tmp_path / "new")
    assert found.data.library_name == library
    assert found.data.pipeline_tag == "image-classification"
    assert found.data.license == "unknown"
    for part in ("## How it was trained", "## Data", "## Results", "## How to load it", "## Limits", "## Licence"):
        assert part in found.text
    assert "phase `probe`" in found.text
    assert str(run) not in found.content


def test_results_are_those_of_the_log_and_hold_for_the_runs_model_alone(run, tmp_path):
    export.export(run, tmp_path / "new", "npz")
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracy = next(line["accuracy"] for line in reversed(last) if line.get("split") == "test")
    found = {one.metric_type: one.metric_value for one in card(tmp_path / "new").data.eval_results}
    assert found["accuracy"] == accuracy
    assert "accuracy" in card(tmp_path / "new").data.metrics
    export.export(run, tmp_path / "first", "npz", step=1)
    assert card(tmp_path / "first").data.eval_results is None
    assert "None are kept of this step" in card(tmp_path / "first").text


def test_a_path_of_the_machine_is_in_no_card(run):
    from jtransfer.exporting import card as cards

    assert cards._data_name("folder:/home/somebody/animals/") == "animals"
    assert cards._data_name("csv:C:\\Users\\somebody\\table.csv") == "table.csv"
    assert cards._data_name("tweet_sentiment") == "tweet_sentiment"
    assert "/" not in base_of._title("/home/somebody/weights.pth")


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: [mit]\n---\n", "unknown"),
        ("---\nlicense: !!python/object:os.system x\n---\n", "unknown"),
        ("---\nlicense: 'mit\n", "unknown"),
        ("license: mit\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_what_the_base_states(readme, licence, tmp_path):
    folder = store("bert_base", "mean", tmp_path / "source")[0]
    if readme is not None:
        (folder / "README.md").write_text(readme)
    export.export(folder, tmp_path / "new", "npz")
    assert card(tmp_path / "new").data.license == licence
    assert ("Unknown" in card(tmp_path / "new").text) == (licence == "unknown")


def test_a_base_on_the_hub_is_named_as_the_hub_does(run, monkeypatch):
    monkeypatch.setattr(base_of, "_of_readme", lambda source: "mit")
    config = configs.default()
    config.init = "hf://org/name@main:model.safetensors"
    trained = export.read(run)
    stored = StoredRun(trained.run.folder, config)
    found = base_of.of(trained._replace(run=stored))
    assert found == base_of.Base("org/name", "org/name", "mit", "the model card of org/name")


def test_of_a_package_the_licence_is_that_of_its_metadata():
    found = base_of._of_distribution("absl-py")
    assert (found.licence, found.says) == ("apache-2.0", "the package absl-py")
    assert base_of._of_distribution("no-such-package").licence == "unknown"


@pytest.mark.live
@pytest.mark.filterwarnings("ignore")
def test_the_lines_of_the_card_load_it(run, tmp_path):
    for format in ("hf", "timm"):
        export.export(run, tmp_path / format, format)
    text = store("bert_base", "unit_mean", tmp_path / "source")[0]
    tokenizer(text)
    export.export(text, tmp_path / "texts", "hf")
    blocks = [
        card(tmp_path / name).text.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path / name))
        for name in ("hf", "timm", "texts")
    ]
    lines = "\n".join(["import torchvision_stubs", *blocks])
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert any(name in done.stdout for name in ("'bad'", "'so-so'", "'good'"))
