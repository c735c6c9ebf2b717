"""A host reads what its devices hold: of checkpoints and of runs, on one host and on two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import load_process
import numpy as np
import optax
import pytest

from jtransfer import weights
from jtransfer.core import rules, sharding
from jtransfer.core import tree as trees
from jtransfer.runs import initialize
from jtransfer.training import checkpoint, state
from jtransfer.weights import formats

NAMES = [f"kind {i}" for i in range(8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run whose last stages were trained; its variables are those of `load_process`."""
    folder, model = tmp_path_factory.mktemp("run"), load_process.model()
    variables = jax.tree.map(jax.numpy.asarray, load_process.variables())
    mask = rules.trainable("(stage4|head)/.*", variables["params"], model.stages)
    trained = state.create(variables, mask, optax.sgd(0.1), seed=0)
    position = {"phase": "only", "base": checkpoint.write_base(folder, "only", trained.frozen)}
    with checkpoint.open_checkpoints(folder, every=1) as checkpoints:
        checkpoint.save(checkpoints, 3, trained, position)
        checkpoints.wait()
    (folder / "classes.json").write_text(json.dumps({"class_names": NAMES}))
    (folder / "config.json").write_text(json.dumps({"data": {}, "optim": {}, "model": {"fields": {"image_size": 32}}}))
    return folder


def assert_same(variables, other):
    flat, expected = trees.flatten(variables), trees.flatten(other)
    assert flat.keys() == expected.keys()
    for path, array in flat.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


def test_each_device_reads_its_part_of_a_run(run, monkeypatch):
    parts = []
    part = formats.Lazy.part

    def spy(tensor, index):
        found = part(tensor, index)
        parts.append((found.nbytes, tensor.nbytes))
        return found

    monkeypatch.setattr(formats.Lazy, "part", spy)
    mesh = sharding.make_mesh({"data": 8})
    variables, report = initialize.variables(str(run), load_process.model(), mesh, "fsdp", class_names=NAMES)
    assert_same(variables, load_process.variables())
    assert not report.adapted
    assert not report.reinitialised
    sharded = [x for x in jax.tree.leaves(variables) if not x.sharding.is_fully_replicated]
    assert len(sharded) > 20
    assert sum(size == whole / 8 for size, whole in parts) == 8 * len(sharded)
    assert sum(size for size, _ in parts) == trees.nbytes(variables)


def test_a_run_is_adapted_where_the_head_is_another(run):
    mesh = sharding.make_mesh({"data": 8})
    model = load_process.model().clone(num_classes=3)
    variables, report = initialize.variables(str(run), model, mesh, "fsdp", class_names=["kind 7", "new", "kind 2"])
    assert dict(report.adapted)["head/dense/bias"] == "2 of 3 classes kept by name"
    old = load_process.variables()["params"]["head"]["dense"]["bias"]
    np.testing.assert_array_equal(variables["params"]["head"]["dense"]["bias"][np.array([0, 2])], old[[7, 2]])


def test_two_hosts_read_their_parts_and_share_the_digest(run):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    place = {"cwd": Path(__file__).parents[1], "env": os.environ | {"JAX_PLATFORMS": "cpu"}}
    pipe, command = subprocess.PIPE, [sys.executable, "-m", "tests.load_process", port]
    both = [subprocess.Popen([*command, rank, str(run)], stdout=pipe, stderr=pipe, text=True, **place) for rank in "01"]
    lines = []
    try:
        for rank, process in enumerate(both):
            output, error = process.communicate(timeout=120)
            assert f"done on process {rank} of 2" in output, error
            lines.append([json.loads(line) for line in output.splitlines() if line.startswith("{")])
    finally:
        for process in both:
            process.kill()
    whole = load_process.variables()
    tensors = weights.to_tensors(whole, load_process.model())
    held = {path.partition("/")[2]: tensor for path, tensor in checkpoint.lazy_params(run).items()}
    expected = {
        "checkpoint": weights.load(tensors, load_process.model())[1].digest,
        "run": weights.load(held, load_process.model())[1].digest,
    }
    total = trees.nbytes(whole)
    for one, other in zip(*lines, strict=True):
        assert one["digest"] == other["digest"] == expected[one["source"]]
        times = 2 if one["source"] == "run" else 1  # each tensor is hashed once; a run's are checked before
        assert one["whole"] + other["whole"] == times * total
        for line in (one, other):
            assert line["parts"] == line["held"] < 0.6 * total
            assert line["whole"] < times * 0.8 * total
