"""Checkpoints are saved without a leak, kept as long as a run may go on from them, and read while it writes others."""

import os
import shutil
import threading

import jax
import numpy as np
import pytest
import tiny_checkpoints as tiny
from orbax.checkpoint import v1 as ocp

from jtransfer.core.errors import InputError
from jtransfer.training import checkpoint


def contents(folder):
    return {path: (path.is_file() and path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_many_saves_hold_no_more_threads_and_files_than_a_few(tmp_path):
    held, state = [], tiny.of_step(1)
    with checkpoint.open_checkpoints(tmp_path, every=1) as checkpoints:
        for step in range(1, 31):
            checkpoint.save(checkpoints, step, state, {"phase": "only", "base": ""})
            checkpoints.wait()
            held.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
    assert np.min(held[20:], axis=0).tolist() == np.min(held[5:10], axis=0).tolist()


class Failing:
    """A save that fails when it is told to, in the background."""

    def __init__(self):
        self.told = threading.Event()

    def result(self, timeout=None):
        self.told.wait()
        raise OSError(28, "No space left on device")


def test_what_fails_in_the_background_ends_the_run_by_the_next_steps(tmp_path, monkeypatch):
    steps, failing = [], Failing()

    def train():
        with checkpoint.open_checkpoints(tmp_path, every=2) as checkpoints:
            for step in range(2, 9):
                steps.append(step)
                if step == 4:
                    failing.told.set()
                checkpoint.save(checkpoints, step, tiny.of_step(step), {"phase": "only", "base": ""})

    monkeypatch.setattr(ocp, "save_checkpointables_async", lambda *args, **kwargs: failing)
    with pytest.raises(InputError, match=r"step 2 can't be written: .*No space left"):
        train()
    assert steps == [2, 3, 4]


def test_a_save_that_fails_last_is_no_success(tmp_path, monkeypatch):
    failing = Failing()
    failing.told.set()
    monkeypatch.setattr(ocp, "save_checkpointables_async", lambda *args, **kwargs: failing)
    with (
        pytest.raises(InputError, match="No space left"),
        checkpoint.open_checkpoints(tmp_path, every=1) as checkpoints,
    ):
        checkpoint.save(checkpoints, 1, tiny.of_step(1), {"phase": "only", "base": ""})


@pytest.mark.parametrize(
    ("keep", "scores", "kept"),
    [
        (1, {}, ["5"]),
        (2, {}, ["4", "5"]),
        (9, {}, ["1", "2", "3", "4", "5"]),
        (1, {1: 0.1, 3: 0.9}, ["3", "5"]),
        (2, {2: 0.5, 5: 0.9}, ["2", "4", "5"]),  # at step 4, the best is that of step 2
        (2, {1: 0.5, 3: 0.5}, ["3", "4", "5"]),
        (1, {1: 0.5, 5: float("-inf")}, ["1", "5"]),
        (checkpoint.Keep(1, every=2), {}, ["2", "4", "5"]),
        (checkpoint.Keep(1, best=2), {1: 0.5, 2: 0.1, 3: 0.9, 4: 0.5}, ["3", "4", "5"]),
        (checkpoint.Keep(1, every=3, best=9), {1: 0.5}, ["1", "3", "5"]),
    ],
)
def test_the_last_are_kept_and_the_best_of_each(tmp_path, keep, scores, kept):
    tiny.write(tmp_path, range(1, 6), scores, keep=keep)
    assert tiny.kept(tmp_path) == kept


def test_best_and_last(tmp_path):
    run = tiny.write(tmp_path, [1, 2, 3], {1: 0.9, 2: 0.3})
    assert checkpoint.best(run) == (1, 0.9)
    assert [checkpoint.resolve(run, step) for step in ("best", "last", None, 2)] == [1, 3, 3, 2]
    assert tiny.is_of(checkpoint.load_params(run, "best"), 1)
    with pytest.raises(InputError, match="no checkpoint of step 7; it has 1, 2, 3, and the names best and last"):
        checkpoint.load_params(run, 7)
    assert tiny.is_state_of(checkpoint.resume(run, lambda position: tiny.shapes()).state, 3)


def test_a_step_that_is_saved_again_is_never_without_a_whole_checkpoint(tmp_path):
    run = tiny.write(tmp_path, [1])
    seen = []
    with checkpoint.open_checkpoints(run, every=1) as checkpoints:
        tiny.save(checkpoints, run, 1, score=0.5)
        seen.append(tiny.is_of(checkpoint.load_params(run), 1))
    assert seen == [True]
    assert tiny.kept(run) == ["1"]
    assert checkpoint.best(run) == (1, 0.5)


def test_killed_while_a_step_is_saved_again(tmp_path):
    run = tiny.write(tmp_path, [1])
    held = run / "checkpoints"
    (held / "1").rename(held / "1.replaced")
    (held / "1.new.orbax-checkpoint-tmp").mkdir()
    (held / "0.removed").mkdir()
    shutil.copytree(held / "1.replaced", held / "2.new")
    assert tiny.is_of(checkpoint.load_params(run), 1)
    with checkpoint.open_checkpoints(run, every=1):
        assert tiny.kept(run) == ["1"]
    shutil.copytree(held / "1", held / "1.replaced")
    with checkpoint.open_checkpoints(run, every=1):
        assert tiny.kept(run) == ["1"]


def test_readers_write_nothing(tmp_path):
    run = tiny.write(tmp_path, [1, 2], {1: 0.5})
    for name in ("3.orbax-checkpoint-tmp", "4.new", "0.removed", "1.replaced"):
        shutil.copytree(run / "checkpoints/1", run / "checkpoints" / name)
    before = contents(run)
    checkpoint.load_params(run, "best")
    {path: tensor.read() for path, tensor in checkpoint.lazy_params(run).items()}
    checkpoint.resume(run, lambda position: tiny.shapes())
    checkpoint.restore(run, 1, tiny.shapes(), checkpoint.position(run, 1))
    assert checkpoint.resolve(run) == 2
    assert contents(run) == before
    with pytest.raises(InputError, match="holds no run"):
        checkpoint.load_params(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_is_read_while_it_saves_as_fast_as_it_can(tmp_path, capsys):
    run = tiny.write(tmp_path, [1], {1: 0.5}, keep=1)
    stop, failed = threading.Event(), []

    def go_on():
        step = 1
        with checkpoint.open_checkpoints(run, every=1, keep=1) as checkpoints:
            while not stop.is_set():
                step += 1
                for _ in range(1 + (step % 3 == 0)):
                    tiny.save(checkpoints, run, step, score=float(step))

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        for number in range(120):
            step, variables = checkpoint.load(run, ("best", "last")[number % 2])
            if not tiny.is_of(variables, step):
                failed.append(step)
    finally:
        stop.set()
        writer.join()
    assert failed == []
    assert capsys.readouterr().err == ""
    assert int(tiny.kept(run)[-1]) > 3


def test_a_step_that_is_deleted_while_it_is_read_is_chosen_anew(tmp_path):
    run = tiny.write(tmp_path, [1, 2])
    seen = []

    def read(found):
        seen.append(found.step)
        if len(seen) == 1:
            shutil.rmtree(run / "checkpoints/2")
        return checkpoint.tensors(run, found)["params/head/bias"].read()

    assert checkpoint.attempt(run, "last", read)[0] == 1.5
    assert seen == [2, 1]
    with pytest.raises(InputError, match="no checkpoint of step 2; it has 1"):
        checkpoint.attempt(run, 2, read)


def test_what_is_deleted_before_it_is_read_is_not_read_as_zeros(tmp_path):
    run = tiny.write(tmp_path, [1])
    tensors = checkpoint.lazy_params(run)
    assert tensors["params/head/bias"].read()[0] == 1.5
    (run / "checkpoints/1").rename(run / "checkpoints/1.removed")
    for tensor in tensors.values():
        for read in (tensor.read, lambda tensor=tensor: tensor.part((slice(0, 1),))):
            with pytest.raises(InputError, match="checkpoints/1 is damaged"):
                read()


def test_parts_of_tensors_are_read_by_several_devices(tmp_path):
    run = tiny.write(tmp_path, [1])
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    cut = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cut if x.shape[:1] == (20,) else place), tiny.shapes()
    )
    state = checkpoint.restore(run, 1, like, checkpoint.position(run, 1))
    assert tiny.is_state_of(state, 1)
    with checkpoint.open_checkpoints(run, every=1) as checkpoints:
        checkpoint.save(checkpoints, 2, state.replace(step=state.step + 1), checkpoint.position(run, 1), force=True)
    assert tiny.is_of(checkpoint.load_params(run, 2), 1)
