"""Metrics against scikit-learn and hand computation; the same numbers however a split is cut into padded batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from jtransfer import evaluators, metrics
from jtransfer.tasks.classify import CLASSIFY

N, C = 57, 8
RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, C - 1, size=N)  # the last class never occurs
LOGITS = (RNG.normal(size=(N, C)) * 2 + 1.5 * np.eye(C)[LABELS]).astype(np.float32)
PREDICTED = LOGITS.argmax(1)


def scalars(logits=LOGITS, labels=LABELS):
    return dict(metrics.classification(logits, labels))


def test_scalars_are_scikit_learns():
    probs = np.exp(LOGITS.astype(np.float64))
    probs /= probs.sum(1, keepdims=True)
    got = scalars()
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(LABELS, PREDICTED))
    assert got["macro_f1"] == pytest.approx(sk.f1_score(LABELS, PREDICTED, average="macro"))
    assert got["loss"] == pytest.approx(sk.log_loss(LABELS, probs, labels=range(C)))
    assert got["top5"] == pytest.approx(sk.top_k_accuracy_score(LABELS, probs, k=5, labels=range(C)))


def test_per_class_is_scikit_learns():
    got = metrics.per_class(PREDICTED, LABELS, C)
    expected = sk.precision_recall_fscore_support(LABELS, PREDICTED, labels=range(C), zero_division=0)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_confusion_is_scikit_learns():
    np.testing.assert_array_equal(
        metrics.confusion(PREDICTED, LABELS, C), sk.confusion_matrix(LABELS, PREDICTED, labels=range(C))
    )


def test_top5_needs_more_than_five_classes():
    assert "top5" not in scalars(LOGITS[:, :5], LABELS % 5)
    assert "top5" in scalars(LOGITS[:, :6], LABELS % 6)


def test_among_equal_logits_the_first_class_wins():
    got = scalars(np.zeros((C, C), np.float32), np.arange(C))
    assert got["accuracy"] == 1 / C
    assert got["top5"] == 5 / C


def test_logits_that_are_nan_are_not_right():
    got = scalars(np.full((3, C), np.nan, np.float32), np.asarray([1, 2, 3]))
    assert np.isnan(got["loss"])
    assert got["accuracy"] == got["top5"] == 0


def test_loss_is_exact_where_the_probability_underflows():
    assert scalars(np.asarray([[1000.0, 0.0]], np.float32), np.asarray([1]))["loss"] == 1000


def test_calibration_by_hand():
    top = np.asarray([0.95, 0.95, 0.95, 0.61, 0.61, 0.52])  # bins 15, 10 and 8 of 15
    right = np.asarray([1, 1, 0, 1, 0, 0])
    probs = np.stack([top, 1 - top], axis=1).astype(np.float32)
    got = metrics.calibration(probs, 1 - right)
    assert got.count.tolist() == [0] * 7 + [1, 0, 2] + [0] * 4 + [3]
    np.testing.assert_allclose(got.confidence[[7, 9, 14]], [0.52, 0.61, 0.95], rtol=1e-6)
    np.testing.assert_allclose(got.accuracy[[7, 9, 14]], [0, 1 / 2, 2 / 3])
    by_hand = (3 * abs(2 / 3 - 0.95) + 2 * abs(1 / 2 - 0.61) + 1 * abs(0 - 0.52)) / 6
    assert got.ece == pytest.approx(by_hand, rel=1e-6)


def test_a_confidence_on_an_edge_is_in_the_lower_bin():
    probs = np.asarray([[0.5, 0.5], [1.0, 0.0]], np.float32)
    assert metrics.calibration(probs, np.zeros(2, int), bins=2).count.tolist() == [1, 1]


def batches(sizes, padding, order=None):
    """The split in batches of these numbers of real examples, each padded with rows that would spoil every metric."""
    order = np.arange(N) if order is None else order
    start = 0
    for size in sizes:
        index = np.concatenate([order[start : start + size], np.zeros(padding, int)])
        mask = np.arange(size + padding) < size
        yield {"label": np.where(mask, LABELS[index], 3).astype(np.int32), "index": index, "mask": mask}
        start += size


def eval_step(variables, batch):
    real = LOGITS[batch["index"]] + variables["shift"]
    return {"logits": np.where(batch["mask"][:, None], real, np.nan)}


@pytest.mark.parametrize(("sizes", "padding"), [([N], 0), ([20, 20, 17], 0), ([20, 20, 17, 0], 3)])
def test_run_is_the_same_however_the_split_is_cut(sizes, padding):
    order = RNG.permutation(N)
    table = evaluators.gather(eval_step, {"shift": np.float32(0)}, batches(sizes, padding, order))
    np.testing.assert_array_equal(table["index"], np.arange(N))
    np.testing.assert_array_equal(table["label"], LABELS)
    np.testing.assert_array_equal(table["logits"], LOGITS)
    assert {k: v.dtype.name for k, v in table.items()} == {"logits": "float32", "label": "int32", "index": "int64"}


def test_classes_are_scored_from_logits_and_kept_as_probabilities():
    table = {"logits": LOGITS, "label": LABELS, "index": np.arange(N)}
    scores = dict(CLASSIFY.score(table, ()))
    assert {name: scores[name] for name in scalars()} == scalars()
    expected = np.exp(LOGITS.astype(np.float64))
    kept = CLASSIFY.finish(table)
    np.testing.assert_allclose(kept["probs"], expected / expected.sum(1, keepdims=True), rtol=1e-6)
    assert kept.keys() == {"probs", "label", "index"}


def test_rows_of_any_shape_are_filled_up_to_the_largest():
    def step(variables, batch):
        side = int(batch["index"].max()) + 1
        return {"grid": np.full((len(batch["index"]), side, 2, side), batch["index"][:, None, None, None])}

    table = evaluators.gather(step, {}, batches([2, 3], 0))
    assert table["grid"].shape == (5, 5, 2, 5)
    assert (table["grid"][1, :2, :, :2] == 1).all()
    assert (table["grid"][1, 2:] == -1).all()
    assert (table["grid"][1, :, :, 2:] == -1).all()


@pytest.mark.parametrize("cut", [[], [0, 0]], ids=["no batch", "padding alone"])
def test_run_refuses_a_split_without_examples(cut):
    with pytest.raises(ValueError, match="without an example"):
        evaluators.gather(eval_step, {"shift": np.float32(0)}, batches(cut, 2))


def test_two_processes_find_what_one_finds():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.evals_process", port]
    place = {"cwd": Path(__file__).parents[1], "env": os.environ | {"JAX_PLATFORMS": "cpu"}}
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    both = [subprocess.Popen([*command, rank], stdout=pipe, stderr=out, text=True, **place) for rank in "01"]
    try:
        for rank, process in enumerate(both):
            output, _ = process.communicate(timeout=120)
            assert f"same on process {rank} of 2" in output, output
    finally:
        for process in both:
            process.kill()
