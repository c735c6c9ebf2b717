"""What a stranger made of a run's folder is refused before it is read: pipes, links, and what lies about its size."""

import hashlib
import json
import os
import shutil

import pytest
import tiny_checkpoints as tiny
from tiny_checkpoints import data_of, resumed

from jtransfer.core.errors import InputError
from jtransfer.training import checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("run"), [2, 4, 6], {2: 0.5, 4: 0.7}, keep=3)


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path, target):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def restate(folder, change):
    """Changes what a checkpoint states, as one who knows how to make it hold together."""

    def resealed(content):
        stated = json.loads(content["custom_metadata"]["stated"])
        change(stated)
        text = json.dumps(stated)
        content["custom_metadata"] = {"stated": text, "digest": hashlib.sha256(text.encode()).hexdigest()[:32]}

    edit(folder / "_CHECKPOINT_METADATA", resealed)


def declare(folder, shape, chunk=None):
    """Has a tree declare another shape of an array."""
    import tensorstore as ts

    base = {"driver": "file", "path": f"{folder}/"}
    store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
    key = "ema.params.head.kernel/zarr.json"
    array = json.loads(store.read(key).result().value)
    array["shape"] = shape
    array["chunk_grid"]["configuration"]["chunk_shape"] = chunk or array["chunk_grid"]["configuration"]["chunk_shape"]
    store.write(key, json.dumps(array).encode()).result()


def unstated(folder):
    """As an earlier version wrote it, which stated no checksums."""
    edit(
        folder / "_CHECKPOINT_METADATA",
        lambda content: content.update(custom_metadata=json.loads(content["custom_metadata"]["stated"])["position"]),
    )


HOSTILE = {
    "pipe for metadata": lambda step: pipe(step / "_CHECKPOINT_METADATA"),
    "pipe for the tree": lambda step: pipe(step / "state/_METADATA"),
    "pipe for data": lambda step: pipe(data_of(step / "state")),
    "pipe beside data": lambda step: pipe(step / "state/d/more"),
    "pipe for an index": lambda step: pipe(step / "state/manifest.0001"),
    "pipe for the step": lambda step: [shutil.rmtree(step), os.mkfifo(step)],
    "file for the step": lambda step: [shutil.rmtree(step), step.write_text("")],
    "link to a device": lambda step: link(data_of(step / "state"), "/dev/zero"),
    "link to a file elsewhere": lambda step: link(data_of(step / "state"), "/etc/passwd"),
    "link to a folder elsewhere": lambda step: link(step / "state/d", "/usr"),
    "link for the tree": lambda step: link(step / "state", "/usr"),
    "link to itself": lambda step: link(step / "state/d", "d"),
    "huge metadata": lambda step: os.truncate(step / "_CHECKPOINT_METADATA", 1 << 40),
    "huge tree": lambda step: os.truncate(step / "state/_METADATA", 1 << 40),
    "huge index": lambda step: os.truncate(step / "state/manifest.ocdbt", 1 << 40),
    "deep metadata": lambda step: (step / "_CHECKPOINT_METADATA").write_text('{"a":' * 100000),
    "metadata of a list": lambda step: (step / "_CHECKPOINT_METADATA").write_text("[]"),
    "metadata of numbers": lambda step: edit(
        step / "_CHECKPOINT_METADATA", lambda content: content.update(custom_metadata={"stated": 1, "digest": 1})
    ),
    "a phase elsewhere": lambda step: restate(step, lambda stated: stated["position"].update(phase="../../etc")),
    "no position": lambda step: restate(step, lambda stated: stated.update(position=[])),
    "no checksums": lambda step: restate(step, lambda stated: stated.update(digests={})),
    "another step": lambda step: restate(step, lambda stated: stated.update(step=5)),
    "huge shape": lambda step: declare(step / "state", [1 << 19, 1 << 19]),
    "huge shape, nothing stated": lambda step: [unstated(step), declare(step / "state", [1 << 19, 1 << 19])],
    "huge chunk, nothing stated": lambda step: [unstated(step), declare(step / "state", [1 << 19] * 2, [1 << 19] * 2)],
    "huge shape in a file of holes": lambda step: [
        unstated(step),
        declare(step / "state", [1 << 18, 1 << 16]),
        (step / "state/d/more").write_bytes(b""),
        os.truncate(step / "state/d/more", 1 << 40),
    ],
    "state of another step": lambda step: [
        shutil.rmtree(step / "state"),
        shutil.copytree(step.parent / "2/state", step / "state"),
    ],
    "another tree": lambda step: [shutil.rmtree(step / "state"), shutil.copytree(step / "optimizer", step / "state")],
    "no metadata": lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
    "no state": lambda step: shutil.rmtree(step / "state"),
    "nothing": lambda step: [shutil.rmtree(step), step.mkdir()],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_stranger_made_is_passed_over(run, case, capsys):
    HOSTILE[case](run / "checkpoints/6")
    for read in (lambda: checkpoint.load(run)[0], lambda: resumed(run).step):
        assert read() == 4
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "checkpoints/6 is damaged: " in err
    with pytest.raises(InputError, match=r"checkpoints/6 is damaged|has no checkpoint of step 6"):
        checkpoint.load_params(run, 6)
