"""The rule type and the trees under it."""

import numpy as np
import pytest

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError

PARAMS = {
    "stem": {"conv": {"kernel": 1}, "bn": {"scale": 2, "bias": 3}},
    "stage1": {"block0": {"conv": {"kernel": 4, "bias": 5}}},
    "stage2": {"block0": {"conv": {"kernel": 6, "bias": 7}}},
    "head": {"dense": {"kernel": 8, "bias": 9}},
}
STAGES = ("stem", "stage1", "stage2", "pool", "head")


def chosen(mask):
    return {path for path, value in trees.flatten(mask).items() if value}


def test_partition_and_merge_are_inverse_and_prune():
    mask = rules.match([(".*/bias", True), (".*", False)], PARAMS)
    yes, no = trees.partition(PARAMS, mask)
    assert set(trees.flatten(yes)) == chosen(mask)
    assert set(trees.flatten(yes)) | set(trees.flatten(no)) == set(trees.flatten(PARAMS))
    assert trees.merge(no, yes) == PARAMS
    with pytest.raises(ValueError, match="stem/bn/bias"):
        trees.merge(PARAMS, yes)


def test_the_first_match_wins_and_must_be_whole():
    values = rules.match([("stem/.*", "a"), (".*kernel", "b"), (".*", "c")], PARAMS)
    flat = trees.flatten(values)
    assert flat["stem/conv/kernel"] == "a"
    assert flat["head/dense/kernel"] == "b"
    assert flat["head/dense/bias"] == "c"
    with pytest.raises(InputError, match="matches no parameter"):
        rules.match([("kernel", 1), (".*", 2)], PARAMS)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (".*/bias", {"stem/bn/bias", "stage1/block0/conv/bias", "stage2/block0/conv/bias", "head/dense/bias"}),
        (".*/bn/.*", {"stem/bn/scale", "stem/bn/bias"}),
        (1, {"head/dense/kernel", "head/dense/bias"}),
        ("2", {"head/dense/kernel", "head/dense/bias", "stage2/block0/conv/kernel", "stage2/block0/conv/bias"}),
        ([("stem/bn/.*", True), (".*", False)], {"stem/bn/scale", "stem/bn/bias"}),
        (".*", set(trees.flatten(PARAMS))),
    ],
)
def test_what_is_trained(spec, want):
    assert chosen(rules.trainable(spec, PARAMS, STAGES)) == want


def test_all_but_the_last_stages_are_frozen_for_every_k():
    sizes = [len(chosen(rules.trainable(k, PARAMS, STAGES))) for k in range(1, 5)]
    assert sizes == [2, 4, 6, 9]
    with pytest.raises(InputError, match="4 stages with parameters: stem, stage1, stage2, head"):
        rules.trainable(5, PARAMS, STAGES)


def test_errors_name_the_nearest_paths():
    with pytest.raises(InputError, match=r"'head/dens/kernel' matches no parameter; nearest: head/dense/kernel"):
        rules.match([("head/dens/kernel", True), (".*", False)], PARAMS)
    with pytest.raises(InputError, match="no pattern covers the parameter 'stem/conv/kernel'"):
        rules.match([("head/.*", True)], PARAMS)
    with pytest.raises(InputError, match="not a regular expression"):
        rules.match([("(head", True)], PARAMS)


def test_collections_are_not_part_of_the_path():
    variables = {"params": PARAMS, "batch_stats": {"stem": {"bn": {"mean": 0}}}}
    values = rules.match([("stem/.*", True), (".*", False)], variables)
    assert values["batch_stats"]["stem"]["bn"]["mean"] is True
    assert values["params"]["head"]["dense"]["kernel"] is False


def test_sizes_are_of_whole_arrays():
    tree = {"a": np.zeros((3, 4), np.float32), "b": np.zeros((), np.int8)}
    assert trees.count(tree) == 13
    assert trees.nbytes(tree) == 49
