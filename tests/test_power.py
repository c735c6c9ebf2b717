"""What is left when the power fails: a checkpoint that has its name is on the disk, before an older one is deleted."""

import os
import shutil
import threading

import faults_of_disks
import jax
import pytest
import tiny_checkpoints as tiny
from etils import epath

from jtransfer.core import durable
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.training import checkpoint, digest
from jtransfer.training.checkpoint import statement
from jtransfer.training.checkpoint.parts import parts

DONATE = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0)


def test_a_checkpoint_reaches_the_disk_before_its_name_and_before_an_older_one_is_deleted(tmp_path, monkeypatch):
    tiny.write(tmp_path, [1], keep=1)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    told = []

    def noted(place, name, of):
        call = getattr(place, name)

        def noting(*args, **kwargs):
            told.append((name, str(of(*args))))
            return call(*args, **kwargs)

        monkeypatch.setattr(place, name, noting)

    noted(os, "fsync", lambda handle: os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path))
    noted(type(epath.Path(tmp_path)), "rename", lambda path, to: os.path.relpath(to, tmp_path))
    tiny.write(tmp_path, [2], keep=1)
    named, left = told.index(("rename", "checkpoints/2")), told.index(("rename", "checkpoints/1.removed"))
    before = {path for call, path in told[:named] if call == "fsync"}
    new = {path.relative_to(tmp_path / "checkpoints/2") for path in (tmp_path / "checkpoints/2").rglob("*")}
    assert {f"checkpoints/2.new/{path}" for path in new} <= before
    assert {"checkpoints/2.new", "base/only", "base/only/state/manifest.ocdbt", "base", ".", "metrics.jsonl"} <= before
    assert ("fsync", "checkpoints") in told[named:left]


def test_a_name_waits_for_the_checksums_which_are_those_of_the_state_that_was_saved(tmp_path, monkeypatch):
    waiting, go_on, compute = threading.Event(), threading.Event(), digest.sums

    def sums(own):
        waiting.set()
        assert go_on.wait(30)
        return compute(own)

    monkeypatch.setattr(digest, "sums", sums)
    base = checkpoint.write_base(tmp_path, "only", tiny.of_step(0).frozen)
    state = jax.tree.map(jax.numpy.array, tiny.of_step(5))
    with checkpoint.open_checkpoints(tmp_path, every=1) as checkpoints:
        checkpoint.save(checkpoints, 5, state, {"phase": "only", "base": base})
        assert waiting.wait(30)
        jax.block_until_ready(DONATE(state.replace(frozen={})))
        assert not (tmp_path / "checkpoints/5").exists()
        go_on.set()
    assert tiny.is_state_of(tiny.resumed(tmp_path).state, 5)
    stated = statement.read(statement.find(5, epath.Path(tmp_path / "checkpoints/5")))
    assert stated.digests == digest.digests(trees.flatten(parts(tiny.of_step(5))))


@pytest.mark.parametrize("asked", [True, False])
def test_a_disk_that_loses_its_power_has_the_last_checkpoint(tmp_path, monkeypatch, asked):
    """Without what asks the disk, it would have none: so this test would find it."""
    if not asked:
        monkeypatch.setattr(durable, "_reach", lambda path: None)
    with faults_of_disks.unsynced(tmp_path / "disk.img") as place:
        if place is None:
            pytest.skip("nothing can be mounted here")
        tiny.write(place / "run", [1, 2, 3], keep=2)
        faults_of_disks.outage(tmp_path / "disk.img")
    with faults_of_disks.disk("after", str(tmp_path / "disk.img"), "-o", "loop") as place:
        run = shutil.copytree(place / "run", tmp_path / "run")
    if asked:
        assert tiny.is_state_of(tiny.resumed(run).state, 3)
    else:
        with pytest.raises(InputError, match="no whole checkpoint"):
            tiny.resumed(run)
