"""Arrays in `.npz` files are read in the layouts of Keras, MedMNIST and PyTorch, with labels of every usual form."""

import numpy as np
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.runs import config
from jtransfer.runs.stream import spec_of

RNG = np.random.default_rng(0)


def images(n, *shape):
    return RNG.integers(0, 256, (n, *(shape or (4, 4))), dtype=np.uint8)


def opened(tmp_path, split="all", task="", arrays=None, **fields):
    np.savez(tmp_path / "set.npz", **(arrays or {}))
    spec = config.default().data
    spec.update({"name": f"npz:{tmp_path}/set.npz", **fields})
    return data.open(spec_of(spec, "image", task), split)


SIZES = {"train": 6, "val": 2, "test": 3}


def medmnist(labels, *shape):
    """As MedMNIST writes it: `train_images`, `train_labels`, …, labels [N, 1] or [N, C]."""
    arrays = {f"{split}_images": images(n, *shape) for split, n in SIZES.items()}
    return arrays | {f"{split}_labels": labels(n) for split, n in SIZES.items()}


def test_medmnist_of_classes(tmp_path):
    arrays = medmnist(lambda n: (np.arange(n) % 2)[:, None].astype(np.uint8), 28, 28, 3)
    for split, n in SIZES.items():
        source = opened(tmp_path, split, arrays=arrays)
        assert (len(source), source.label_kind, source.class_names) == (n, "class", ["0", "1"])
        assert source.labels.tolist() == [i % 2 for i in range(n)]
        np.testing.assert_array_equal(source[1]["image"], arrays[f"{split}_images"][1])
    assert opened(tmp_path, "train", "regress", arrays).label_kind == "number"


def test_medmnist_of_several_labels(tmp_path):
    arrays = medmnist(lambda n: (np.arange(14)[None] % (np.arange(n)[:, None] + 2) == 0).astype(np.uint8))
    source = opened(tmp_path, "train", arrays=arrays)
    assert (source.label_kind, len(source.class_names)) == ("classes", 14)
    np.testing.assert_array_equal(source.labels, arrays["train_labels"])
    assert source.labels.dtype == np.float32
    with pytest.raises(InputError, match="split train, example 0: has 7 classes, but task='classify' needs one"):
        opened(tmp_path, "train", "classify", arrays)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool])
def test_one_hot_labels_are_one_class_or_several_by_the_task(tmp_path, dtype):
    arrays = {"images": images(4), "labels": np.eye(3)[[2, 0, 1, 2]].astype(dtype), "class_names": ["a", "b", "c"]}
    one = opened(tmp_path, task="classify", arrays=arrays)
    assert (one.label_kind, one.class_names, one.labels.tolist()) == ("class", ["a", "b", "c"], [2, 0, 1, 2])
    several = opened(tmp_path, task="multi_label", arrays=arrays)
    assert (several.label_kind, several.labels.tolist()) == ("classes", np.eye(3)[[2, 0, 1, 2]].tolist())
    assert "set task='classify'" in opened(tmp_path, arrays=arrays).notes[0]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_channels_first_are_turned(tmp_path, channels):
    first = images(2, channels, 5, 6)
    source = opened(tmp_path, arrays={"images": first, "labels": [0, 1]})
    last = opened(tmp_path, arrays={"images": np.moveaxis(first, 1, 3), "labels": [0, 1]})
    assert source[1]["image"].shape == (5, 6, 3)
    np.testing.assert_array_equal(source[1]["image"], last[1]["image"])
    assert (
        source.notes[0] == f"images [N, {channels}, 5, 6] are taken as [N, C, H, W]: the second axis has the channels"
    )
    assert not any("taken as [N" in note for note in last.notes)
    narrow = opened(tmp_path, arrays={"images": images(2, 3, 6, 3), "labels": [0, 1]})
    assert narrow[0]["image"].shape == (3, 6, 3)
    assert narrow.notes[0].endswith("are taken as [N, H, W, C]: the last axis has the channels")


NAMES = [("x_{}", "y_{}"), ("X_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_x", "{}_y"), ("images_{}", "labels_{}")]


@pytest.mark.parametrize("names", NAMES)
def test_names_of_arrays(tmp_path, names):
    x, y = names
    arrays = {x.format(s): images(n) for s, n in SIZES.items()} | {y.format(s): np.arange(n) for s, n in SIZES.items()}
    assert [len(opened(tmp_path, split, arrays=arrays)) for split in SIZES] == list(SIZES.values())
    with pytest.raises(InputError, match=r"split train: .* could each be the array"):
        opened(
            tmp_path, "train", arrays=arrays | {"train_images": images(6), "x_train": images(6), "X_train": images(6)}
        )


@pytest.mark.parametrize(
    ("labels", "task", "kind", "names", "values"),
    [
        ([b"b", b"a"], "", "class", ["a", "b"], [1, 0]),
        (np.float32([0, 2]), "", "number", ["label"], [0, 2]),
        (np.float32([0, 2]), "classify", "class", ["0", "1", "2"], [0, 2]),
        (np.float64([[0], [2]]), "classify", "class", ["0", "1", "2"], [0, 2]),
        ([1, 2], "classify", "class", ["0", "1", "2"], [1, 2]),
        ([1, 2], "regress", "number", ["label"], [1, 2]),
        (["2", "10"], "", "class", [str(i) for i in range(11)], [2, 10]),
        ([[[1]], [[0]]], "", "class", ["0", "1"], [1, 0]),
        ([True, False], "", "class", ["0", "1"], [1, 0]),
        ([[0.5, 0.5], [1, 0]], "", "classes", ["0", "1"], [[0.5, 0.5], [1, 0]]),
    ],
)
def test_forms_of_labels(tmp_path, labels, task, kind, names, values):
    source = opened(tmp_path, task=task, arrays={"images": images(2), "labels": np.array(labels)})
    assert (source.label_kind, source.class_names, source.labels.tolist()) == (kind, names, values)


def test_missing_labels_are_counted(tmp_path):
    for labels in ([0, np.nan, 1], [[0, 1], [np.nan, 1], [1, 0]]):
        arrays = {"images": images(3), "labels": np.array(labels)}
        with pytest.raises(InputError, match=r"example 1: the label .*: 1 of 3 labels '\w+' are missing"):
            opened(tmp_path, arrays=arrays)
        kept = opened(tmp_path, arrays=arrays, missing="drop")
        np.testing.assert_array_equal(kept[1]["image"][..., 0], arrays["images"][2])
        assert len(kept) == 2


def test_odd_labels_are_told(tmp_path):
    source = opened(tmp_path, arrays={"images": images(3), "labels": np.array([1, 2, 3])})
    assert any("1 of 4 classes have no example: 0" in note for note in source.notes)
    with pytest.raises(InputError, match="labels must be integers, strings or numbers"):
        opened(tmp_path, arrays={"images": images(2), "labels": np.zeros((2, 3, 3))})
    with pytest.raises(InputError, match=r"must have a number from 0 to 1"):
        opened(tmp_path, arrays={"images": images(2), "labels": np.array([[0, 255], [255, 0]])})
