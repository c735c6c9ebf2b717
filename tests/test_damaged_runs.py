"""Whatever is wrong with the files of a run's folder: each command works as before, or says in one line what is wrong.

A damaged run is never begun again from its first step, and nothing of it is overwritten.
"""

import contextlib
import json
import os
import re
import shutil

import pytest
import tiny_vectors
from file_damages import DAMAGES

from jtransfer import evaluate, export, predict, report, runs, train
from jtransfer.core import whole_file
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting.export import export as export_run
from jtransfer.runs import fingerprint, log
from jtransfer.training import checkpoint

PARTS = {  # file → what is made of it
    "config.json": lambda run: run.config.to_json(),
    "classes.json": lambda run: run.class_names,
    "environment.json": lambda run: run.environment,
    "metrics.jsonl": lambda run: run.lines,
    "predictions.npz": lambda run: run.predictions,
    "vector.json": lambda run: run.modality.mean,
    "data.json": lambda run: fingerprint.kept(run.folder),
}
LINES = ("without its last byte", "cut in the middle", "zeros at the end", "half a line more")
OBJECTS = ("an empty object", "of other keys", "gone", "not a number")
OTHERS = {  # damages after which a file is still one
    *((damage, "metrics.jsonl") for damage in (*LINES, "empty")),
    *((damage, "environment.json") for damage in OBJECTS),
    *(("gone", file) for file in ("data.json", "predictions.npz")),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of eight steps that was stopped after the fourth, its config, and the log of one that was not."""
    folder = tmp_path_factory.mktemp("damaged")
    config = tiny_vectors.config_of(folder)
    train.run(config, folder / "whole")

    class Stopped(Exception):
        pass

    def save(checkpoints, step, *args, **fields):
        original(checkpoints, step, *args, **fields)
        if step == 4:
            raise Stopped

    original = checkpoint.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with contextlib.suppress(Stopped):
            train.run(config, folder / "run")
    shutil.copy(folder / "whole/predictions.npz", folder / "run")
    return config, folder / "run", lines(folder / "whole")


def lines(run):
    """The log without what a clock says."""
    clocks = (
        "examples_per_second",
        "data_wait_ms",
        "device_ms",
        "host_ms",
        "seconds",
        "peak_rss_mb",
        "device_memory_mb",
    )
    return [{key: value for key, value in line.items() if key not in clocks} for line in log.read(run)]


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize("file", PARTS)
def test_what_is_damaged_is_read_as_before_or_told_in_a_line(begun, tmp_path, file):
    whole = PARTS[file](runs.open(begun[1]))
    for name, damage in DAMAGES.items():
        folder = shutil.copytree(begun[1], tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
        damage(folder / file)
        found, error = read(file, folder)
        if error:
            assert file in error, (name, error)
            assert "\n" not in error
            assert len(error) < 800, name
        else:
            assert (name, file) in OTHERS or str(found) == str(whole), (name, found)
        shutil.rmtree(folder)


def read(file, folder):
    """What a file of a run is read as, or the error."""
    try:
        return PARTS[file](runs.open(folder)), ""
    except InputError as error:
        return None, str(error)


RESUMED = {  # (file, damage) → None where the run goes on as if nothing had been; else a part of what is said
    ("metrics.jsonl", "half a line more"): None,
    ("metrics.jsonl", "zeros at the end"): None,
    ("metrics.jsonl", "a zero in the middle"): "remove the line, or move the file away",
    ("metrics.jsonl", "twice"): "it is of step 0 and comes after step 4",
    ("metrics.jsonl", "CR"): "line 1 is not a JSON object",
    ("metrics.jsonl", "a pipe"): "is no regular file",
    ("classes.json", "nested too deep"): None,
    ("environment.json", "zeros alone"): None,
    ("environment.json", "a folder"): "is a folder; move it away",
    ("config.json", "empty"): "it is empty; put a copy of it back",
    ("config.json", "gone"): None,
    ("vector.json", "a pipe"): "is not what the run was trained with",
    ("data.json", "empty"): "put a copy of it back, or move it away",
}


@pytest.mark.parametrize(("file", "damage"), RESUMED)
def test_a_damaged_run_goes_on_or_is_left_as_it_is(begun, tmp_path, capsys, file, damage):
    config, run, whole = begun
    folder, expected = shutil.copytree(run, tmp_path / "run"), RESUMED[file, damage]
    DAMAGES[damage](folder / file)
    before = contents(folder)
    if expected:
        with pytest.raises(InputError, match=re.escape(expected)):
            train.run(config, folder)
        assert contents(folder) == before
        return
    train.run(config, folder)
    out = capsys.readouterr().out
    assert "going on after step 4" in out
    assert lines(folder) == whole
    if file in ("classes.json", "environment.json"):
        assert (folder / f"{file}.damaged").read_bytes() == before[str(folder / file)]
        assert f"it is kept as {file}.damaged" in out
    if file == "metrics.jsonl" and damage in ("half a line more", "zeros at the end"):
        assert "its last line was not written to its end, and is cut" in out


def test_the_report_of_a_damaged_run_is_one_line_and_the_others_work(begun, tmp_path, capsys):
    folder = shutil.copytree(begun[1], tmp_path / "run")
    for file in ("metrics.jsonl", "environment.json", "predictions.npz", "data.json"):
        (folder / file).write_bytes(b"[" * 100_000)
    run_command(predict.main, ["predict", f"--workdir={folder}", "1,2,3,4,5,6"])
    run_command(evaluate.main, ["evaluate", str(folder)])
    run_command(export.main, ["export", str(folder), str(tmp_path / "new"), "--format=npz"])
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as stopped:
        run_command(report.main, ["report", str(folder)])
    assert stopped.value.code == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


WRONG = [  # lines that no run writes, or not after the others
    {"step": "two"},
    {"step": -1},
    {"step": 1.5},
    {"step": True},
    {"step": 10**400},
    {"step": 9, "phase": 7},
    {"step": 9, "phase": "finetune", "split": ["train"]},
    {"step": 9, "phase": "finetune", "split": "train", "loss": "low"},
    {"step": 9, "phase": "finetune", "split": "test", "accuracy": {"a": 1}},
    {"step": 3, "phase": "finetune", "split": "train", "loss": 1.0},
    {"loss": 1.0},
]


@pytest.mark.parametrize("wrong", WRONG)
def test_lines_that_no_run_writes_are_told(begun, tmp_path, wrong):
    text = (begun[1] / log.FILE).read_text()
    (tmp_path / log.FILE).write_text(f'{text}{json.dumps(wrong)}\n{{"step": 10}}\n')
    with pytest.raises(InputError, match=rf"metrics\.jsonl, line {len(text.splitlines()) + 1} is (damaged|not a JSON)"):
        log.read(tmp_path)


@pytest.mark.parametrize("wrong", [{"event": "best", "metric": 3}, {"event": "phase_end", "seconds": "long"}])
def test_events_that_no_run_writes_are_told(begun, tmp_path, capsys, wrong):
    folder = shutil.copytree(begun[1], tmp_path / "run")
    with (folder / log.FILE).open("a") as file:
        file.write(json.dumps({"step": 9, "phase": "finetune"} | wrong) + "\n")
    with pytest.raises(SystemExit) as stopped:
        run_command(report.main, ["report", str(folder)])
    assert stopped.value.code == 2
    assert re.fullmatch(r"error: [^\n]+metrics\.jsonl[^\n]+\n", capsys.readouterr().err)
    assert not (folder / "report.html").exists()


def test_a_report_follows_no_link(begun, tmp_path):
    folder = shutil.copytree(begun[1], tmp_path / "run")
    (tmp_path / "mine").write_text("mine")
    for name in ("report.html", "report.html.tmp"):
        (folder / name).symlink_to(tmp_path / "mine")
    run_command(report.main, ["report", str(folder)])
    assert (tmp_path / "mine").read_text() == "mine"
    assert (folder / "report.html").read_text().startswith("<!")


def test_a_link_out_of_a_run_is_not_copied(begun, tmp_path):
    folder = shutil.copytree(begun[1], tmp_path / "run")
    (folder / "vector.json").rename(tmp_path / "secret")
    (folder / "vector.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link out of"):
        export_run(str(folder), tmp_path / "new", "npz")
    assert not (tmp_path / "new").exists()


def test_what_is_kept_with_a_run_must_be_what_it_was(begun, tmp_path):
    config, run, _ = begun
    folder = shutil.copytree(run, tmp_path / "run")
    statistics = json.loads((folder / "vector.json").read_text())
    statistics["mean"][0] += 1
    (folder / "vector.json").write_text(json.dumps(statistics))
    for use in (lambda: runs.open(folder).modality, lambda: train.run(config, folder)):
        with pytest.raises(InputError, match=r"vector\.json is not what the run was trained with"):
            use()


def test_what_is_written_reaches_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told = []

    def noted(name):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: (told.append(name), call(*args))[1])

    noted("fsync")
    noted("replace")
    whole_file.write(tmp_path / "file", b"content")
    assert told == ["fsync", "replace", "fsync"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
