"""Sources: real and made-up data sets, splits, and files that are not what they should be."""

import itertools
import os
import subprocess
import sys
import zipfile

import ml_collections
import numpy as np
import pytest
from PIL import Image

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.data import splits

TFDS = pytest.mark.skipif(not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set")
EMBEDDED = {"name": "embedded:fashion_mnist"}


def check_source(source, channels=3):
    """What every source promises."""
    assert source.labels.dtype == np.int32
    assert source.labels.shape == (len(source),)
    for i in (0, len(source) // 2, len(source) - 1, -1, np.int64(0)):
        example = source[i]
        assert example["image"].dtype == np.uint8
        assert example["image"].shape[2:] == (channels,)
        assert type(example["label"]) is int
        assert example["label"] == source.labels[i]
    assert 0 <= source.labels.min() <= source.labels.max() < len(source.class_names)
    assert all(isinstance(name, str) for name in source.class_names)
    for outside in (len(source), -len(source) - 1):
        with pytest.raises(IndexError):
            source[outside]


# Splits


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", 0, 200)]),
        ("train[:90%]", [("train", 0, 180)]),
        ("train[90%:]", [("train", 180, 200)]),
        ("train[10:20]", [("train", 10, 20)]),
        ("train[-10:]", [("train", 190, 200)]),
        ("train[-10%:-5]", [("train", 180, 195)]),
        (" train [ 10% : 50 ] ", [("train", 20, 50)]),
        ("train[:]+test", [("train", 0, 200), ("test", 0, 7)]),
        ("train[:5]+train[195:]", [("train", 0, 5), ("train", 195, 200)]),
        ("test[:50%]", [("test", 0, 4)]),
        ("test[50%:]", [("test", 4, 7)]),
        ("all", [("train", 0, 200), ("test", 0, 7)]),
        ("all[150:203]", [("train", 150, 200), ("test", 0, 3)]),
        ("all[201:]", [("test", 1, 7)]),
    ],
)
def test_split_expressions(split, expected):
    assert splits.select(split, {"train": 200, "test": 7}, "x") == expected


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("valid", r"there is no split 'valid'; splits: train \(200\), test \(7\)"),
        ("train[", "write a split as"),
        ("train[1]", "write a split as"),
        ("train[1.5:]", "write a split as"),
        ("train[::2]", "write a split as"),
        ("", "write a split as"),
        ("train+", "write a split as"),
        ("train[:201]", "201 lies outside the 200 examples"),
        ("train[:101%]", "101% lies outside"),
        ("train[5:5]", "selects no example"),
        ("train[9:5]", "selects no example"),
        ("test[:1%]", "selects no example"),
    ],
)
def test_wrong_split_expressions_say_what_is_wrong(split, message):
    with pytest.raises(InputError, match=message):
        splits.select(split, {"train": 200, "test": 7}, "x")


def test_a_slice_reads_the_examples_of_the_whole():
    whole = data.open(EMBEDDED, "train")
    part = data.open(EMBEDDED, "train[-3:]+test[:2]+train[10%:10%]+train[5:6]")
    other = data.open(EMBEDDED, "test")
    expected = [whole[997], whole[998], whole[999], other[0], other[1], whole[5]]
    assert len(part) == 6
    for i, example in enumerate(expected):
        np.testing.assert_array_equal(part[i]["image"], example["image"])
        assert part[i]["label"] == example["label"] == part.labels[i]
    assert len(list(itertools.islice(iter(part), 10))) == 6


# The embedded set


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_embedded_set_has_a_hundred_of_each_class(split, channels):
    source = data.open(ml_collections.ConfigDict({**EMBEDDED, "channels": channels}), split)
    check_source(source, channels)
    assert source[0]["image"].shape == (28, 28, channels)
    np.testing.assert_array_equal(np.bincount(source.labels), [100] * 10)
    assert source.class_names[0] == "T-shirt/top"
    assert source.class_names[9] == "Ankle boot"


# TFDS


@TFDS
def test_the_embedded_set_is_the_first_hundred_of_each_class_of_the_original():
    for split in ("train", "test"):
        embedded, original = data.open(EMBEDDED, split), data.open({"name": "fashion_mnist"}, f"{split}[:1500]")
        first = np.sort(np.concatenate([np.flatnonzero(original.labels == k)[:100] for k in range(10)]))
        assert embedded.class_names == original.class_names
        np.testing.assert_array_equal(embedded.labels, original.labels[first])
        for i in range(0, 1000, 37):
            np.testing.assert_array_equal(embedded[i]["image"], original[first[i]]["image"])


@TFDS
@pytest.mark.parametrize("name", ["mnist", "mnist:3.0.1", "fashion_mnist"])
def test_tfds_sets_are_read_by_name_and_slice(name):
    source = data.open({"name": name}, "train[90%:]")
    assert len(source) == 6000
    check_source(data.open({"name": name}, "train[59000:]"))
    assert len(source.class_names) == 10
    whole = data.open({"name": name, "channels": 1}, "train")
    assert len(whole) == 60000
    np.testing.assert_array_equal(source[17]["image"][..., :1], whole[54017]["image"])
    assert len(data.open({"name": name}, "all")) == 70000


@TFDS
def test_spec_dir_goes_before_the_environment(monkeypatch, tmp_path):
    directory = os.environ["TFDS_DATA_DIR"]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match="unknown data set"):
        data.open({"name": "mnist"}, "train")
    assert len(data.open({"name": "mnist", "dir": directory}, "train")) == 60000


@TFDS
@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ({"name": "fashion_mnits"}, "train", "nearest in .*: fashion_mnist.*TFDS_DATA_DIR=.*tfds build fashion_mnits"),
        ({"name": "mnist:9.9.9"}, "train", "unknown data set 'mnist:9.9.9'"),
        ({"name": "no such/set!"}, "train", "unknown data set"),
        ({"name": "folders:/x"}, "train", "unknown data set 'folders:/x'.*folder:/path"),
        ({"name": "mnist"}, "valid", r"there is no split 'valid'; splits: train \(60000\), test \(10000\)"),
        (
            {"name": "mnist", "label_key": "digit"},
            "train",
            "no feature 'digit'; set data.label_key to one of: image, label",
        ),
        ({"name": "mnist", "image_key": "pixels"}, "train", "no feature 'pixels'; set data.image_key to one of"),
        ({"name": "mnist", "label_key": "image"}, "train", "'image' is no label"),
        (
            {"name": "tweet_sentiment", "label_key": "mood"},
            "train",
            "no column 'mood'; set data.label_key to one of: l",
        ),
    ],
)
def test_wrong_tfds_specs_say_what_to_do(spec, split, message):
    with pytest.raises(InputError, match=message):
        data.open(spec, split)


def test_an_unset_data_directory_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"unknown data set 'mnist'; nearest in .*: none \(TFDS_DATA_DIR is not set\)"):
        data.open({"name": "mnist"}, "train")


@TFDS
def test_reading_tfds_imports_no_tensorflow_and_warns_of_nothing():
    code = (
        "import sys; from jtransfer import data\n"
        "s = data.open({'name': 'mnist'}, 'test[:20]'); s.labels, s[3], next(data.eval_batches(s, None, 20))\n"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Folders


def save(path, image, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **kwargs)


def gray(value, shape=(5, 7)):
    return np.full(shape, value, np.uint8)


def test_a_folder_of_class_folders(tmp_path):
    for name, value in (("b/2.png", 2), ("b/1.PNG", 1), ("a/deep/3.png", 3), (".hidden/4.png", 4), ("a/._5.png", 5)):
        save(tmp_path / name, gray(value))
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "list.txt").write_text("nor this")
    source = data.open({"name": f"folder:{tmp_path}"}, "all")
    check_source(source)
    assert source.class_names == ["a", "b"]
    assert [(example["image"][0, 0].tolist(), example["label"]) for example in source] == [
        ([3, 3, 3], 0),
        ([1, 1, 1], 1),
        ([2, 2, 2], 1),
    ]
    assert len(data.open({"name": f"folder:{tmp_path}"}, "all[:67%]")) == 2
    with pytest.raises(InputError, match=r"no split 'train'; splits: all \(3\)"):
        data.open({"name": f"folder:{tmp_path}"}, "train")


def test_a_folder_with_splits_has_the_classes_of_all_of_them(tmp_path):
    for name in ("train/cat/1.png", "train/dog/2.png", "test/dog/3.png", "test/eel/4.png", "val/cat/5.png"):
        save(tmp_path / name, gray(int(name[-5])))
    (tmp_path / "annotations").mkdir()
    opened = {s: data.open({"name": f"folder:{tmp_path}"}, s) for s in ("train", "test", "val")}
    assert {s: source.labels.tolist() for s, source in opened.items()} == {"train": [0, 1], "test": [1, 2], "val": [0]}
    assert all(source.class_names == ["cat", "dog", "eel"] for source in opened.values())


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train/1.png", "car/2.png"):
        save(tmp_path / name, gray(1))
    assert data.open({"name": f"folder:{tmp_path}"}, "all").class_names == ["car", "train"]


def read_one(tmp_path, channels=3):
    return data.open({"name": f"folder:{tmp_path}", "channels": channels}, "all")[0]["image"]


def test_transparent_pixels_are_white(tmp_path):
    image = np.zeros((4, 4, 4), np.uint8)
    image[..., 0], image[0, :, 3], image[1, :, 3] = 200, 255, 128
    save(tmp_path / "a" / "1.png", image)
    out = read_one(tmp_path)
    assert out[0, 0].tolist() == [200, 0, 0]
    np.testing.assert_allclose(out[1, 0], [227, 127, 127], atol=1)
    assert (out[2:] == 255).all()


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_are_resolved(tmp_path, transparent):
    image = Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8)[:, None], 6, axis=1), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    save(tmp_path / "a" / "1.png", image, **({"transparency": 0} if transparent else {}))
    out = read_one(tmp_path)
    assert out[0, 0].tolist() == ([255, 255, 255] if transparent else [10, 20, 30])
    assert out[1, 0].tolist() == [40, 50, 60]


def test_exif_orientation_turns_the_image_upright(tmp_path):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned to the left: turn by 90° clockwise to view
    save(tmp_path / "a" / "1.jpg", np.rot90(upright).copy(), exif=exif, quality=95)
    out = read_one(tmp_path)
    assert out.shape == (8, 16, 3)
    assert np.abs(out.astype(int) - upright).max() < 20


def test_deep_grey_cmyk_and_one_channel(tmp_path):
    save(tmp_path / "a" / "1.png", Image.fromarray(np.full((3, 3), 0x1234, np.uint16)))
    assert (read_one(tmp_path) == 0x12).all()
    assert read_one(tmp_path, channels=1).shape == (3, 3, 1)
    save(tmp_path / "a" / "0.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))
    assert (read_one(tmp_path) == 255).all()
    save(tmp_path / "a" / "+.png", np.full((3, 3, 3), [255, 0, 0], np.uint8))
    assert (read_one(tmp_path, channels=1) == 76).all()


@pytest.mark.parametrize("sixteenth", range(16))
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, sixteenth, kind):
    path = tmp_path / "a" / f"broken.{kind}"
    save(path, np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * sixteenth // 16])
    with pytest.raises(InputError, match=rf"cannot read the image .*broken.{kind}"):
        read_one(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "a" / "bomb.png", gray(0, (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="bomb"):
        read_one(tmp_path)


def test_a_broken_image_is_named_through_the_loader(tmp_path):
    save(tmp_path / "a" / "1.png", gray(1))
    save(tmp_path / "a" / "2.png", np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    whole = (tmp_path / "a" / "2.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(
        whole[:1000] + b"damage" + whole[1006:]
    )  # its first and last bytes are sound
    batches = data.train_batches(data.open({"name": f"folder:{tmp_path}"}, "all"), None, 2, seed=0)
    with pytest.raises(InputError, match=r"cannot read the image .*2\.png"):
        next(batches)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "there is no such folder"),
        ([], "holds no class folders"),
        (["1.png"], "holds no class folders"),
        (["a/1.png", "b/"], "the class folder 'b' holds no image"),
        (["train/a/"], "the class folder 'a' holds no image"),
    ],
)
def test_empty_folders_are_refused(tmp_path, files, message):
    for file in files or []:
        if file.endswith("/"):
            (tmp_path / file).mkdir(parents=True)
        else:
            save(tmp_path / file, gray(1))
    root = tmp_path if files is not None else tmp_path / "missing"
    with pytest.raises(InputError, match=message):
        data.open({"name": f"folder:{root}"}, "all")


# Arrays


def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return {"name": f"npz:{tmp_path / 'set.npz'}"}


def test_npz_of_images_and_labels(tmp_path):
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
    spec = save_npz(tmp_path, images=images, labels=np.array([[0], [2], [1], [2], [0]]))
    source = data.open(spec, "all")
    check_source(source)
    assert source.class_names == ["0", "1", "2"]
    np.testing.assert_array_equal(source[3]["image"], np.repeat(images[3][..., None], 3, axis=2))


def test_npz_as_keras_writes_it(tmp_path):
    spec = save_npz(
        tmp_path,
        x_train=np.zeros((4, 2, 2, 3), np.uint8),
        y_train=np.array(["dog", "cat", "dog", "cat"]),
        x_test=np.zeros((2, 2, 2, 3), np.uint8),
        y_test=np.array(["eel", "cat"]),
    )
    assert data.open(spec, "train").labels.tolist() == [1, 0, 1, 0]
    assert data.open(spec, "test").labels.tolist() == [2, 0]
    assert data.open(spec, "test[:50%]").class_names == ["cat", "dog", "eel"]
    with pytest.raises(InputError, match=r"no split 'val'; splits: train \(4\), test \(2\)"):
        data.open(spec, "val")


ONE = np.zeros((1, 2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": ONE}, "needs the arrays images and labels, .* it has pixels"),
        ({"images": ONE}, "needs the arrays"),
        ({"images": ONE, "labels": np.zeros(2, int)}, "1 examples but 2 labels"),
        ({"images": ONE / 255.0, "labels": np.zeros(1, int)}, "images must be uint8"),
        ({"images": ONE[0, 0], "labels": np.zeros(2, int)}, "images must be uint8"),
        ({"images": ONE[..., :2], "labels": np.zeros(1, int)}, r"have 2 channels, .* set data\.channels=2"),
        ({"images": ONE, "labels": np.zeros(1, complex)}, "labels must be integers, strings or numbers"),
        (
            {"images": ONE, "labels": np.array([-1])},
            "split all, example 0: the label -1 of 'label' is out of range 0 to 0; -1 often",
        ),
        (
            {"images": ONE, "labels": np.array([2]), "class_names": ["a", "b"]},
            "example 0: the label 2 of 'label' is out of range 0 to 1",
        ),
        (
            {"images": ONE, "labels": np.array(["c"]), "class_names": ["a", "b"]},
            "example 0: the label 'c' is none of the classes a, b",
        ),
        ({"images": np.array([print]), "labels": np.zeros(1, int)}, "without pickled objects"),
        ({"images": ONE[:0], "labels": np.zeros(0, int)}, "selects no example"),
    ],
)
def test_wrong_arrays_say_what_is_wrong(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message):
        data.open(save_npz(tmp_path, **arrays), "all")


@pytest.mark.parametrize("sixteenth", range(16))
def test_a_truncated_npz_is_named(tmp_path, sixteenth):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images, labels=np.zeros(5, int))
    whole = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(whole[: len(whole) * sixteenth // 16])
    with pytest.raises(InputError, match=r"set\.npz: cannot be read"):
        data.open({"name": f"npz:{tmp_path / 'set.npz'}"}, "all")


def test_flipped_bytes_in_an_npz_never_pass_unseen_or_crash(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((5, 8, 8), np.uint8), labels=np.zeros(5, int))
    with zipfile.ZipFile(tmp_path / "set.npz") as archive:
        start = archive.getinfo("images.npy").header_offset + 200
    whole = bytearray((tmp_path / "set.npz").read_bytes())
    whole[start + 50] ^= 0xFF
    (tmp_path / "set.npz").write_bytes(whole)
    with pytest.raises(InputError, match=r"cannot be read.*CRC"):
        data.open({"name": f"npz:{tmp_path / 'set.npz'}"}, "all")


def test_a_lone_array_is_no_npz(tmp_path):
    np.save(tmp_path / "set.npy", ONE)
    with pytest.raises(InputError, match=r"cannot be read as an \.npz file"):
        data.open({"name": f"npz:{tmp_path / 'set.npy'}"}, "all")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "data.name=None: give a TFDS name"),
        ({"name": ""}, "data.name=''"),
        ({"name": "embedded:fashion"}, "unknown embedded data set 'fashion'; nearest: fashion_mnist"),
        ({"name": "npz:/nowhere.npz"}, "npz:/nowhere.npz: there is no such file"),
        ({**EMBEDDED, "channels": -1}, "data.channels=-1: 3 for colours, 1 for grey"),
    ],
)
def test_wrong_specs_say_what_to_do(spec, message):
    with pytest.raises(InputError, match=message):
        data.open(spec, "train")
