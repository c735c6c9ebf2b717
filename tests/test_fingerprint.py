"""A run that goes on has the data that it was begun with; what differs is said in a line, and nothing is written."""

import json
import os
import shutil
from pathlib import Path

import cv2
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_vectors
from jax.experimental import multihost_utils

from jtransfer import config as configs
from jtransfer import data, evaluate, report, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.runs import fingerprint, log
from jtransfer.runs.stream import Stream, open_stream

WORDS = ("good", "bad", "fine", "poor", "nice", "dull")


def images(folder, classes=("a", "b"), number=3):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            cv2.imwrite(str(folder / name / f"{i}.png"), np.full((8, 8, 3), 40 * i + label, np.uint8))


def rows():
    return [{"text": f"{word} film {i}", "label": i % 2} for i, word in enumerate(WORDS)]


def of_folder(root):
    images(root / "data")
    return f"folder:{root}/data"


def of_npz(root, shape=(6, 8, 8)):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.savez(root / "data.npz", **{"images" if len(shape) == 3 else "features": pixels, "labels": np.arange(6) % 2})
    return f"npz:{root}/data.npz"


def of_csv(root):
    lines = [f"{row['text']},{row['label']}" for row in rows()]
    (root / "data.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return f"csv:{root}/data.csv"


def of_csv_images(root):
    images(root / "images")
    lines = [f"images/{name}/{i}.png,{name}" for name in "ab" for i in range(3)]
    (root / "data.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return f"csv:{root}/data.csv"


def of_csv_vectors(root):
    lines = [f"{i}.5,{i * i},{i % 2}" for i in range(6)]
    (root / "data.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")
    return f"csv:{root}/data.csv"


def of_jsonl(root):
    (root / "data.jsonl").write_text("\n".join(map(json.dumps, rows())) + "\n")
    return f"jsonl:{root}/data.jsonl"


def of_parquet(root):
    pq.write_table(pa.Table.from_pylist(rows()), root / "data.parquet")
    return f"parquet:{root}/data.parquet"


def of_text(root):
    (root / "data.txt").write_text("\n".join(row["text"] for row in rows()) + "\n")
    return f"text:{root}/data.txt"


def of_parallel(root):
    for language in ("en", "de"):
        (root / f"data.{language}").write_text("\n".join(f"{language} {row['text']}" for row in rows()) + "\n")
    return f"parallel:{root}/data.en,{root}/data.de"


KINDS = {
    "folder": of_folder,
    "npz of images": of_npz,
    "npz of vectors": lambda root: of_npz(root, (6, 4)),
    "csv of texts": of_csv,
    "csv of images": of_csv_images,
    "csv of vectors": of_csv_vectors,
    "jsonl": of_jsonl,
    "parquet": of_parquet,
    "text": of_text,
    "parallel": of_parallel,
}


def told(name, **spec):
    return fingerprint.of_split(data.open({"name": name, **spec}, "all"))


@pytest.mark.parametrize("kind", KINDS)
def test_moved_data_are_the_same_and_changed_ones_are_others(kind, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    name = KINDS[kind](first)
    before = told(name)
    shutil.copytree(first, second)  # with other dates
    moved = name.replace(str(first), str(second))
    assert told(moved) == before
    for path in filter(Path.is_file, second.rglob("*")):
        os.utime(path, (1, 1))
    assert told(moved) == before
    if kind.startswith(("folder", "csv of images")):
        next(second.rglob("2.png")).write_bytes(cv2.imencode(".png", np.full((8, 8, 3), 99, np.uint8))[1].tobytes())
    elif kind.startswith("npz"):
        with np.load(second / "data.npz") as held:
            arrays = dict(held)
        arrays[next(iter(arrays))][0] += 1
        np.savez(second / "data.npz", **arrays)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist([*rows()[:-1], {"text": "dull!", "label": 1}]), second / "data.parquet")
    else:
        file = sorted(second.glob("data.*"))[0]
        file.write_text(file.read_text().replace("5", "7").replace("dull", "cull"))
    assert told(moved) != before


@pytest.mark.parametrize("name", ["sklearn:iris", "sklearn:digits", "embedded:fashion_mnist"])
def test_sets_that_come_with_a_package_have_one(name):
    found = fingerprint.of_split(data.open({"name": name}, "all"))
    assert found["examples"] >= 150
    assert len(found["labels"]) == 32


def test_a_users_own_source_is_told_by_its_length_and_labels():
    def source(labels, kind="class"):
        return Source(len(labels), lambda i: {"vector": np.random.rand(3)}, ["a", "b"], lambda a, b: labels[a:b], kind)

    before = fingerprint.of_split(source(np.array([0, 1, 1])))
    assert fingerprint.of_split(source(np.array([0, 1, 1]))) == before
    assert fingerprint.of_split(source(np.array([0, 1, 0]))) != before
    assert fingerprint.of_split(source(np.array([0.0, 1.0, 1.0]), "number"))["label_kind"] == "number"


@pytest.fixture
def small(tmp_path):
    """A folder of images of two classes, and its stream."""
    images(tmp_path / "images/train", number=4)
    images(tmp_path / "images/test", number=2)
    config = configs.default()
    config.data.name = f"folder:{tmp_path}/images"
    return tmp_path / "images", lambda: {"target": open_stream(configs.complete(config).data, "", "", ("", "scratch"))}


def contents(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


CHANGES = {
    "a class renamed": (lambda root: [(root / s / "b").rename(root / s / "z") for s in ("train", "test")], "'b' gone"),
    "a file gone": (lambda root: (root / "train/a/3.png").unlink(), "data.train: 8 examples → 7"),
    "a file more": (
        lambda root: shutil.copy(root / "test/a/1.png", root / "test/a/9.png"),
        "data.test: 4 examples → 5",
    ),
    "a file changed": (
        lambda root: shutil.copy(root / "train/b/1.png", root / "train/a/1.png"),
        "data.train: of the 8 examples their content changed",
    ),
    "a label changed": (
        lambda root: [
            (root / "train/a/3.png").rename(root / "train/b/4.png"),
            (root / "train/b/0.png").rename(root / "train/a/4.png"),
        ],
        "their content changed",
    ),
    "a class more": (lambda root: shutil.copytree(root / "train/a", root / "train/c"), "'c' new"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_said(small, tmp_path, name):
    root, streams = small
    change, expected = CHANGES[name]
    fingerprint.keep(tmp_path, fingerprint.check(tmp_path, streams()))
    fingerprint.check(tmp_path, streams())
    change(root)
    with pytest.raises(InputError, match="was begun with other data: ") as error:
        fingerprint.check(tmp_path, streams())
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    config = tiny_vectors.config_of(folder)
    train.run(config, folder / "run")
    return config, folder / "run"


@pytest.fixture
def vectors(begun, tmp_path):
    return begun[0], shutil.copytree(begun[1], tmp_path / "run")


def test_a_run_with_other_data_is_refused_and_the_same_data_may_move(vectors, tmp_path, capsys):
    config, run = vectors
    before, path = contents(run), Path(config.data.name.removeprefix("npz:"))
    held = shutil.copy(path, tmp_path / "held.npz")
    with np.load(path) as arrays:
        np.savez(path, **dict(arrays) | {"x_test": arrays["x_test"][1:], "y_test": arrays["y_test"][1:]})
    try:
        with pytest.raises(InputError, match=r"was begun with other data: .*data\.test: 16 examples → 15"):
            train.run(config, run)
        assert contents(run) == before
        evaluate.evaluate(run)
        assert (
            "warning: the data are not those that the run was begun with: data.test: 16 exa" in capsys.readouterr().err
        )
        moved = config.copy_and_resolve_references()
        moved.data.name = f"npz:{held}"
        train.run(moved, run)
        assert "the data are the same as before: data.name" in capsys.readouterr().out
        assert json.loads((run / "config.json").read_text())["data"]["name"] == f"npz:{held}"
        evaluate.evaluate(run)
        assert "warning" not in capsys.readouterr().err
    finally:
        shutil.copy(held, path)


def test_a_run_of_before_goes_on_and_gets_one(vectors):
    config, run = vectors
    made = (run / fingerprint.FILE).read_bytes()
    (run / fingerprint.FILE).unlink()
    train.run(config, run)
    assert (run / fingerprint.FILE).read_bytes() == made
    (run / fingerprint.FILE).unlink()
    (run / "classes.json").write_text(json.dumps({"class_names": ["0", "1", "two"]}))
    with pytest.raises(InputError, match="data: the classes are others \\('two' gone, '2' new\\)"):
        train.run(config, run)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0\0", b"[]", b"{}", b'{"version": 1}', b'{"version": 1, "streams": {"target": 3}}']
)
def test_a_damaged_one_is_refused(vectors, content):
    config, run = vectors
    (run / fingerprint.FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"data\.json .*put a copy of it back, or move it away"):
        train.run(config, run)
    assert len([line for line in log.read(run) if line.get("split") == "train"]) == 8
    run_command(report.main, ["report", str(run)])


def test_one_of_a_later_version_is_passed_over(vectors):
    config, run = vectors
    (run / fingerprint.FILE).write_text('{"version": 99, "streams": {}}')
    train.run(config, run)


def test_processes_with_other_data_are_refused(monkeypatch):
    source = Source(2, lambda i: {"vector": np.zeros(2)}, ["a", "b"], lambda a, b: np.arange(2)[a:b])
    streams = {"target": Stream(None, {"train": source}, {"train": source}, None, "", None, "")}
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda own: np.stack([own, own, own + 1]))
    with pytest.raises(InputError, match="the data of process 2 are not those of process 0"):
        fingerprint.check("/nowhere", streams)
