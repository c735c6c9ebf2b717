"""Where the parts of a report stand when a browser has laid it out, on a telephone and on a screen."""

import browser
import numpy as np
import pytest
import synthetic_run
from chromium import needs_chromium

from jtransfer import data
from jtransfer.reporting import page as report
from jtransfer.reporting import probed
from jtransfer.runs import probing

WIDTHS = (480, 1200)
WORDS = ["a", "T-shirt", "短い名前", "Стаття", "نص طويل", "a very long name of a class that has no room in its column"]
SCRIPT = """
const centre = (box) => box.left + box.width / 2;
const heads = [...document.querySelectorAll(".matrix thead th")].slice(1);
const cells = [...document.querySelectorAll(".matrix tbody tr:first-child td")];
const spans = heads.map(head => head.firstElementChild.getBoundingClientRect());
const table = document.querySelector(".matrix");
const row = document.querySelector(".matrix tbody tr");
return {
  off: spans.map((box, i) => Math.abs(centre(box) - centre(cells[i].getBoundingClientRect()))),
  gaps: spans.slice(1).map((box, i) => box.left - spans[i].right),
  below: spans.map(box => row.getBoundingClientRect().top - box.bottom),
  cell: cells.length ? cells[0].getBoundingClientRect().width : 0,
  page: document.documentElement.scrollWidth, view: document.documentElement.clientWidth,
  loose: [...document.querySelectorAll("table")].filter(one => !one.closest(".scroll")).length,
};
"""
SCRIPT_OF_WIDTH = """
return [document.documentElement.scrollWidth - document.documentElement.clientWidth,
        [...document.querySelectorAll("table")].filter(one => !one.closest(".scroll")).length];
"""


@pytest.fixture(autouse=True)
def source(monkeypatch):
    def read(i):
        return {"image": np.full((28, 28, 3), i % 256, np.uint8), "label": 0}

    whole = data.Source(10_000, read, [], lambda *_: np.zeros(10_000, np.int32))
    monkeypatch.setattr(data, "open", lambda spec, split: whole)


@pytest.fixture(scope="module")
def names():
    return {str(n): [f"{WORDS[i % len(WORDS)]} {i}" for i in range(n)] for n in (2, 10, 20, 40, 100)}


@needs_chromium
def test_heads_stand_over_their_columns_and_the_page_is_as_wide_as_the_screen(tmp_path, names):
    pages = {}
    for name, classes in names.items():
        synthetic_run.write(tmp_path / name, classes=classes)
        pages[name] = report.write(tmp_path / name).read_text()
    found = browser.laid_out(tmp_path, pages, WIDTHS, SCRIPT)
    assert len(found) == len(pages) * len(WIDTHS)
    for (name, width), told in found.items():
        told["where"] = name, width
        assert told["page"] <= told["view"], told
        assert told["loose"] == 0, told
        assert len(told["off"]) == (int(name) if int(name) <= 40 else 0), told
        assert max(told["off"], default=0) < 2, told
        assert min(told["gaps"], default=0) >= 0, told
        assert min(told["below"], default=0) >= 0, told
        assert not told["off"] or told["cell"] >= 28, told


@needs_chromium
def test_a_page_of_probes_is_as_wide_as_the_screen(tmp_path):
    stages = [f"a_stage_with_a_long_name_{i}" for i in range(30)]
    points = [probing.Point(stage, 2048, "lr=0.003, l2=0.0001", 0.5, (0.4, 0.6)) for stage in stages]
    test = {"accuracy": 0.5, "interval": (0.4, 0.6), "examples": 100}
    text = probed.render(probing.Curve("sgd", points, stages[3], "chosen on the validation split", test), "x" * 300)
    for told in browser.laid_out(tmp_path, {"probes": text}, WIDTHS, SCRIPT_OF_WIDTH).values():
        assert told == [0, 0]
