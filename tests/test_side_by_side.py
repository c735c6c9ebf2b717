"""Several runs on one page: what each reached, whether that is more than chance, and what sets them apart."""

import base64
import csv
import io
import json
import re

import browser
import numpy as np
import pytest
import synthetic_run
from chromium import needs_chromium
from sklearn.metrics import accuracy_score

from jtransfer import report as command
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.reporting import side_by_side

SLOW = synthetic_run.CONFIG | {"optim": {"name": "adamw", "lr": 0.0003}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs on the same examples, of which the second gets all of the first class wrong, and one on other ones."""
    root = tmp_path_factory.mktemp("runs")
    synthetic_run.write(root / "a" / "run")
    synthetic_run.write(root / "b" / "run", config=SLOW)
    synthetic_run.write(root / "c", classes=synthetic_run.CLASSES[:5])
    worse = synthetic_run.predictions()
    worse["probs"] = (
        np.roll(worse["probs"], 1, axis=1) * (worse["label"] == 0)[:, None]
        + worse["probs"] * (worse["label"] != 0)[:, None]
    )
    np.savez(root / "b" / "run" / "predictions.npz", **worse)
    return [root / "a" / "run", root / "b" / "run", root / "c"]


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "all.html"
    assert str(side_by_side.write(folders, path)) == str(path)
    return path.read_text()


def tables(text):
    """Caption → rows, of the CSV of each table."""
    found = re.findall(r'download="([^"]*)\.csv" href="data:text/csv;charset=utf-8;base64,([^"]*)"', text)
    return {name: list(csv.reader(io.StringIO(base64.b64decode(held).decode()))) for name, held in found}


def test_runs_are_told_apart_by_what_differs(page):
    found = tables(page)
    first, second, third = (row[0] for row in found["the-results"][1:])
    assert (first, second, third.rpartition("/")[2]) == ("a/run", "b/run", "c")
    fields = {row[0]: row[1:] for row in found["fields-of-the-configs-that-differ"][1:]}
    assert fields["optim.lr"] == ["0.003", "0.0003", "0.003"]
    assert set(fields) == {"optim.lr"}


def test_the_difference_is_of_the_same_examples(folders, page):
    with np.load(folders[0] / "predictions.npz") as one, np.load(folders[1] / "predictions.npz") as other:
        first, second = (accuracy_score(run["label"], run["probs"].argmax(1)) for run in (one, other))
    head, _, row, last = tables(page)["the-results"]
    told = row[head.index("difference")]
    assert told.startswith("worse")
    assert f"\u2212{100 * (first - second):.1f} accuracy" in told
    assert "on 1\u202f000 examples" in told or "on 1 000 examples" in told
    assert last[head.index("difference")] == "tested on other examples"


def test_the_values_of_a_csv_are_whole(folders, page):
    head, first, *_ = tables(page)["the-results"]
    lines = [json.loads(line) for line in (folders[0] / "metrics.jsonl").read_text().splitlines()]
    tested = [line["accuracy"] for line in lines if line.get("split") == "test"]
    assert float(first[head.index("test accuracy")]) == tested[-1]


def test_no_run_is_called_the_best_that_nothing_chose(page):
    assert "Which run is the best is not said: " in page
    assert "no score chose the run" in page


@needs_chromium
def test_the_page_is_as_wide_as_a_telephone(page, tmp_path):
    script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;"
    assert browser.laid_out(tmp_path, {"runs": page}, (480,), script) == {("runs", 480): 0}


def test_the_command_writes_several_and_one(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_command(command.main, ["report", *map(str, folders[:2])])
    assert capsys.readouterr().out.strip() == "reports.html"
    assert "2 runs side by side" in (tmp_path / "reports.html").read_text()
    run_command(command.main, ["report", str(folders[0]), "--to=one.html", "--noattribution"])
    assert "The phases compared" in (tmp_path / "one.html").read_text()
    assert not (folders[0] / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda runs, tmp: ([runs[0], runs[0]], tmp / "x.html"), "is given twice"),
        (lambda runs, tmp: ([runs[0], tmp / "none"], tmp / "x.html"), "no such folder"),
        (lambda runs, tmp: (runs, tmp / "none" / "x.html"), "give a file in a folder that there is"),
        (lambda runs, tmp: (runs, tmp), "give a file in a folder"),
        (lambda runs, tmp: (runs, runs[0] / "config.json"), "is no page"),
    ],
)
def test_what_can_not_be_is_one_line_and_nothing_is_written(folders, tmp_path, change, says):
    given, to = change(folders, tmp_path)
    before = (folders[0] / "config.json").read_bytes()
    with pytest.raises(InputError, match=says) as caught:
        side_by_side.write(given, to)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert (folders[0] / "config.json").read_bytes() == before
