"""Splits that are drawn: at random, by class, by group and in folds; and what is told of them before a run."""

import os
import re
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from jtransfer import config as configs
from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.data.split_names import meaning
from jtransfer.runs import build, split_check
from jtransfer.tasks import TASKS

EMBEDDED = {"name": "embedded:fashion_mnist"}


def numbers(spec, split):
    return data.open(spec, split).numbers


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("random(:80%, seed=0)", "random(80%:, seed=0)"),
        ("random(80%)", "random(80%:)"),
        ("stratified(:33%, seed=7)", "stratified(33%:, seed=7)"),
        ("stratified(folds=7, except=3)", "stratified(folds=7, fold=3)"),
        ("random( folds = 3 , except = 2, seed=4)", "random(folds=3, fold=2, seed=4)"),
        ("random(:-50)", "random(-50:)"),
    ],
)
def test_two_parts_are_the_whole(first, second):
    both = [numbers(EMBEDDED, split) for split in (first, second)]
    np.testing.assert_array_equal(np.sort(np.concatenate(both)), np.arange(2000))


def test_a_drawn_part_is_the_same_on_every_machine():
    # PCG64's raw numbers, which NumPy fixes: np.random.PCG64(0).random_raw(4) begins with these
    raw = [11749869230777074271, 4976686463289251617, 755828109848996024, 304881062738325533]
    assert np.random.PCG64(0).random_raw(4).tolist() == raw
    assert numbers(EMBEDDED, "random(train[:4], :2, seed=0)").tolist() == [2, 3]


def test_seeds_draw_other_parts_and_a_part_of_a_part_stays_inside():
    one, other = (numbers(EMBEDDED, f"random(:50%, seed={seed})") for seed in (0, 1))
    assert 400 < np.intersect1d(one, other).size < 600
    inside = numbers(EMBEDDED, "random(train[:90%], :50%)")
    assert inside.size == 450
    assert inside.max() < 900
    assert numbers(EMBEDDED, "random(train[:10]+test[:10], :5) + train[:3]").size == 8


@pytest.mark.parametrize("sizes", [(100, 10, 1), (7, 7, 7), (2, 2, 90), (50, 3)])
def test_stratified_parts_and_folds_have_every_class_in_proportion(tmp_path, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.savez(tmp_path / "a.npz", images=np.zeros((len(labels), 2, 2), np.uint8), labels=labels)
    spec = {"name": f"npz:{tmp_path / 'a.npz'}"}
    part = np.bincount(data.open(spec, "stratified(:80%)").labels, minlength=len(sizes))
    assert np.abs(part - 0.8 * np.array(sizes)).max() <= 1
    folds = [
        np.bincount(data.open(spec, f"stratified(folds=3, fold={k})").labels, minlength=len(sizes)) for k in (0, 1, 2)
    ]
    assert np.ptp(folds, axis=0).max() <= 1
    assert np.ptp(np.sum(folds, axis=1)) <= 1


def test_so_many_of_each_class(tmp_path):
    labels = np.repeat([0, 1, 2], (30, 9, 5))
    np.savez(tmp_path / "a.npz", images=np.zeros((len(labels), 2, 2), np.uint8), labels=labels)
    spec = {"name": f"npz:{tmp_path / 'a.npz'}"}
    few, more, rest = (set(numbers(spec, f"per_class({cut}, seed=3)").tolist()) for cut in (":2", ":5", "5:"))
    assert few < more
    assert not more & rest
    assert more | rest == set(range(44))
    for part, each in ((few, 2), (more, 5)):
        assert np.bincount(labels[sorted(part)]).tolist() == [each] * 3
    others = set(numbers(spec, "per_class(stratified(folds=5, except=1), :4, seed=4)").tolist())
    assert np.bincount(labels[sorted(others)]).tolist() == [4, 4, 4]
    assert others != few
    with pytest.raises(InputError, match="asks for 6 examples of each class, and the class '2' has 5"):
        numbers(spec, "per_class(:6)")


SPOKEN = "text,label,speaker\n" + "".join(f"t{i},{'ab'[i % 2]},s{i // 5}\n" for i in range(60))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    "splits",
    [
        ("grouped(speaker, :75%)", "grouped(speaker, 75%:)"),
        ("grouped(speaker, folds=4, except=1)", "grouped('speaker', all, folds=4, fold=1)"),
    ],
)
def test_no_group_is_in_both_parts(tmp_path, suffix, splits):
    import json

    import pyarrow
    import pyarrow.parquet

    rows = [dict(zip(("text", "label", "speaker"), line.split(","), strict=True)) for line in SPOKEN.splitlines()[1:]]
    file = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        file.write_text(SPOKEN)
    elif suffix == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    parts = [data.open({"name": f"{suffix}:{file}"}, split) for split in splits]
    assert [len(part) for part in parts] == [45, 15]
    groups = [{rows[i]["speaker"] for i in part.numbers} for part in parts]
    assert not groups[0] & groups[1]
    assert all(part[3]["text"] == rows[part.numbers[3]]["text"] for part in parts)


@pytest.mark.parametrize("inputs", [np.zeros((12, 3), np.float32), np.zeros((12, 4, 4), np.uint8)])
def test_arrays_are_grouped_by_another_array(tmp_path, inputs):
    patient, labels = np.arange(12) // 3, np.where(np.arange(12) == 4, -1, np.arange(12) % 2)
    split = {"x_train": inputs, "y_train": labels, "x_test": inputs[:2], "y_test": labels[:2]}
    np.savez(tmp_path / "a.npz", **split, patient_train=patient[:, None], site=patient[:2], short=patient[:5])
    spec = {"name": f"npz:{tmp_path}/a.npz", "missing": "drop"}
    parts = [data.open(spec, f"grouped(patient, train, {cut})") for cut in (":50%", "50%:")]
    rows = np.delete(np.arange(12), 4)  # of those with a label
    groups = [set(patient[rows[part.numbers]].tolist()) for part in parts]
    assert (sum(map(len, parts)), groups[0] & groups[1], groups[0] | groups[1]) == (11, set(), {0, 1, 2, 3})
    for column, says in {
        "site": "split train: 'site' is [2], and there are 12 examples",
        "doctor": "has no further array 'doctor', only patient_train",
    }.items():
        with pytest.raises(InputError, match=re.escape(says)):
            data.open(spec, f"grouped({column}, train, :50%)")
    np.savez(tmp_path / "b.npz", features=inputs.reshape(12, -1), labels=patient % 2, groups=patient.astype(str))
    assert len(data.open({"name": f"npz:{tmp_path}/b.npz"}, "grouped(groups, folds=4, fold=0)")) == 3


def test_vectors_are_grouped_by_a_column_that_is_none_of_theirs(tmp_path):
    (tmp_path / "a.csv").write_text("x,patient,label\n" + "".join(f"{i}.5,{i // 4},{i % 2}\n" for i in range(40)))
    spec = {"name": f"csv:{tmp_path / 'a.csv'}", "modality": "vector"}
    with pytest.raises(InputError, match=r"one of the numbers of the vectors; name the others in data\.columns"):
        data.open(spec, "grouped(patient, :50%)")
    part = data.open({**spec, "columns": "x"}, "grouped(patient, :50%)")
    assert sorted({i // 4 for i in part.numbers.tolist()}) == sorted(
        {i // 4 for i in range(40)} & set(part.numbers // 4)
    )
    assert len(part) == 20


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("random(:80%", "write a split as"),
        ("random(train)", r"write random\(:80%, seed=0\)"),
        ("random(80%, folds=3)", "write random"),
        ("random(fold=1)", "write random"),
        ("random(folds=3, fold=1, except=1)", "write random"),
        ("randm(:80%)", "unknown way to draw examples 'randm'; nearest: random"),
        ("random(:80%, sed=1)", "unknown setting of .* 'sed'; nearest: seed"),
        ("grouped(:80%)", "write grouped"),
        ("grouped(x, :80%)", "has no columns to group by"),
        ("random(folds=5, fold=5)", "one from 0 to folds - 1"),
        ("random(:101%)", "101% lies outside"),
        ("per_class(:10%)", "takes a number of examples of each class"),
        ("per_class(folds=5, fold=1)", r"write per_class\(:20, seed=0\)"),
        ("stratified(5:5)", "selects none of the 2000 examples"),
        ("random(valid, :80%)", "there is no split 'valid'; splits: train"),
    ],
)
def test_wrong_expressions_say_what_to_write(split, message):
    with pytest.raises(InputError, match=message):
        data.open(EMBEDDED, split)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, "train")
            for name in ("train", "TRAIN", "Training", "seg_train", "train_set", "trainset", "train2017")
        ),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "eval", "val_256", "images_val")),
        *((name, "test") for name in ("test", "Testing", "seg_test", "test set", "test_images", "test.de-en")),
        *(
            (name, None)
            for name in ("cat", "trainer", "train_station", "test_tube", "invalid", "contest", "latest", "all")
        ),
    ],
)
def test_names_of_splits(name, expected):
    assert meaning(name) == expected


def fill(root, *names):
    rng = np.random.default_rng(0)
    for name in names:
        for i in range(2):
            path = root / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(path)


def opened(root, split):
    return data.open({"name": f"folder:{root}"}, split)


@pytest.mark.parametrize(
    ("folders", "counts"),
    [
        (("Training/a", "Training/b", "Testing/a", "Testing/b"), {"train": 4, "test": 4, "Training": 4}),
        (("images/train/a", "images/train/b", "images/val/a"), {"train": 4, "validation": 2, "val": 2, "valid": 2}),
        (("set/archive/train/a", "set/archive/test/b"), {"train": 2, "test": 2}),
        (("seg_train/seg_train/a", "seg_test/seg_test/a", "seg_pred"), {"train": 2, "test": 2, "seg_train": 2}),
        (("train/a", "train/b", "test"), {"train": 4}),
        (("train/a", "train/b"), {"train": 4, "all": 4}),
        (("train/x/deep", "car/y", "plane/z"), {"all": 6}),
        (("train", "car"), {"all": 4}),
        (("pets/cat", "pets/dog"), {"all": 4}),
        (("cat/day1", "dog/day2"), {"all": 4}),
        (("cat/train", "cat/test", "dog/train", "dog/test"), {"train": 4, "test": 4}),
        (("Train Set/a", "Test Set/a"), {"train": 2, "Train_Set": 2}),
    ],
)
def test_layouts_of_folders(tmp_path, folders, counts):
    fill(tmp_path, *folders)
    assert {split: len(opened(tmp_path, split)) for split in counts} == counts
    kept = {part for name in folders for part in name.split("/") if len(part) == 1 or part in ("cat", "dog")}
    assert not kept or {"x", "y", "z"} & kept or set(opened(tmp_path, "all").class_names) == kept


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test"), "the folders test and train hold images, but no folders of classes"),
        (("train/a", "valid/a"), r"no split 'test'; splits: train \(2\), valid \(2\); that may be data.test='valid'"),
        (("a", "b"), r"no split 'test'; splits: all \(4\); cut it, .*stratified"),
        (("train/a",), r"hold a part out: data.train='random\(train, :90%\)'"),
    ],
)
def test_layouts_that_need_a_word(tmp_path, folders, message):
    fill(tmp_path, *folders)
    with pytest.raises(InputError, match=message):
        opened(tmp_path, "test")


def test_what_is_no_image_is_passed_over_and_told(tmp_path):
    fill(tmp_path, "cat", "dog", "cat/.ipynb_checkpoints", "cat/@eaDir/0.jpg", "dog/.Trash-1/files", "__MACOSX/cat")
    for name in ("cat/a.heic", "cat/b.AVIF", "dog/c.zip", "dog/d", "cat/Thumbs.db", "dog/._0.png", "dog/.DS_Store"):
        (tmp_path / name).write_bytes(b"\0" * 9)
    source = opened(tmp_path, "all")
    assert source.class_names == ["cat", "dog"]
    assert len(source) == 4
    told = "\n".join(source.notes)
    assert "not read: 1 without suffix, 1 .avif, 1 .heic, 1 .zip" in told
    assert ".Trash-1, .ipynb_checkpoints, @eaDir, __MACOSX" in told


def test_a_class_of_another_kind_of_file_says_which(tmp_path):
    fill(tmp_path, "cat")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.heic").write_bytes(b"\0")
    with pytest.raises(InputError, match=r"the class folder 'dog' holds no image .*\(but 1 \.heic\)"):
        opened(tmp_path, "all")


def test_broken_files_are_all_named_or_left_out(tmp_path):
    fill(tmp_path, "cat", "dog")
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    jpeg = tmp_path / "dog" / "whole.jpg"
    Image.new("RGB", (64, 64)).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes() + b"\0" * 100)  # padded, as some cameras do; it can be read
    Image.new("RGB", (9, 9)).save(tmp_path / "dog" / "a.tif")
    broken = {
        "cat/empty.jpg": b"",
        "cat/page.jpg": b"<html>404</html>",
        "dog/cut.png": whole[:-40],
        "dog/cut.tif": (tmp_path / "dog" / "a.tif").read_bytes()[:60],
        "dog/cut.jpg": jpeg.read_bytes()[:500],
    }
    for name, raw in broken.items():
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match="cannot read the image") as caught:
        opened(tmp_path, "all[:1]")
    assert all(name in str(caught.value) for name in broken)
    assert "no image, but begins with b'<html>" in str(caught.value)
    source = data.open({"name": f"folder:{tmp_path}", "broken": "skip"}, "all")
    assert len([source[i] for i in range(len(source))]) == 6
    assert "leaves out 5 images that can't be read" in source.notes[0]
    for i in range(12):
        (tmp_path / "cat" / f"more{i}.gif").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"No such file or directory; .*; 17 in all; repair"):
        opened(tmp_path, "all")
    with pytest.raises(InputError, match=r"unknown data\.broken 'ignore'"):
        data.open({"name": f"folder:{tmp_path}", "broken": "ignore"}, "all")


def test_names_in_either_form_of_unicode_are_one_class(tmp_path):
    forms = {"train": "NFD", "test": "NFC"}
    for split, form in forms.items():
        name = unicodedata.normalize(form, "café")
        fill(tmp_path, f"{split}/{name}", f"{split}/pizza")
        rows = "".join(f"t{i},{[name, 'thé'][i % 2]}\n" for i in range(4))
        (tmp_path / f"{split}.csv").write_text("text,label\n" + rows)
    for kind in (f"folder:{tmp_path}", f"csv:{tmp_path}/{{train,test}}.csv"):
        one, other = (data.open({"name": kind}, split) for split in forms)
        assert one.class_names == other.class_names
        assert len(one.class_names) == 2
        np.testing.assert_array_equal(one.labels, other.labels)


def test_folders_of_one_name_in_both_forms_lose_no_image(tmp_path):
    fill(tmp_path, unicodedata.normalize("NFD", "café"), unicodedata.normalize("NFC", "café"), "thé")
    assert opened(tmp_path, "all").labels.tolist() == [0, 0, 0, 0, 1, 1]


# Before a run


def prepare(tmp_path, name, **splits):
    config = configs.default()
    config.model.name, config.model.fields.depths, config.model.fields.image_size = "resnet18", (1, 1), 16
    config.data.name, config.data.transform, config.batch_size = name, "resize(16)", 8
    for split, expression in splits.items():
        config.data[split] = expression
    build.prepare(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("all[:75%]", "all[75%:]", r"data\.test='all\[75%:\]' has none of the classes of .* only 'd'.*stratified"),
        ("all[:20%]", "all[20%:]", r"data\.train='all\[:20%\]': all examples are of the class 'a'"),
        ("grouped(folder, :50%)", "grouped(folder, 50%:)", "has none of the classes"),
        ("grouped(patient, :50%)", "all", "no column 'patient', only 'folder' and 'prefix'"),
    ],
)
def test_splits_that_make_no_sense_are_refused_before_anything_is_written(tmp_path, train, test, message):
    fill(tmp_path / "data", "a", "b", "c", "d")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path, f"folder:{tmp_path / 'data'}", train=train, test=test)
    assert not (tmp_path / "run").exists()


def test_what_is_odd_of_splits_is_told_before_training(tmp_path, capsys):
    fill(tmp_path / "data", "train/cat", "train/Dog", "test/cat", "test/dog", "test/eel")
    (tmp_path / "data" / "train" / "cat" / "a.heic").write_bytes(b"\0")
    prepare(tmp_path, f"folder:{tmp_path / 'data'}")
    told = capsys.readouterr().out
    assert "data.test='test': 4 of 6 examples are of classes that data.train='train' has none of: 'dog', 'eel'" in told
    assert "almost the same: 'Dog' and 'dog'" in told
    assert "passes over files of kinds that are not read: 1 .heic" in told
    assert "are also in" not in told


def test_examples_that_are_in_two_splits_are_told(tmp_path, capsys):
    fill(tmp_path / "data", "train/a", "train/b", "test/a", "test/b")
    (tmp_path / "data/test/b/copy.png").write_bytes((tmp_path / "data/train/a/0.png").read_bytes())
    name = f"folder:{tmp_path / 'data'}"
    prepare(tmp_path, name)
    assert "data.test='test': 1 of 5 examples are also in data.train='train'" in capsys.readouterr().out
    prepare(tmp_path, EMBEDDED["name"], test="train[:100]", validation="test")
    assert "data.test='train[:100]': 100 of 100 examples are also in data.train='train'" in capsys.readouterr().out
    prepare(tmp_path, EMBEDDED["name"], train="stratified(:80%)", test="stratified(80%:)")
    assert capsys.readouterr().out == ""


def copies(tmp_path, form, rows):
    """A data set whose split test has the first example of its split train, as row 4; every third label is -1."""
    labels = [i % 3 - 1 if i % 3 < 2 else 1 for i in range(rows)]
    values = np.random.default_rng(0).integers(0, 255, (rows + 5, 8), np.uint8)
    train, test = values[:rows], np.concatenate([values[rows : rows + 4], values[:1], values[rows + 4 :]])
    if form == "images":
        arrays = {"x_train": train.reshape(-1, 2, 4), "x_test": test.reshape(-1, 2, 4)}
        np.savez(tmp_path / "a.npz", **arrays, y_train=labels, y_test=np.arange(6) % 2)
        return {"name": f"npz:{tmp_path}/a.npz", "missing": "drop"}
    for split, part in {"train": train, "test": test}.items():
        cells = [
            " ".join(f"w{x}" for x in row) if form == "texts" else ",".join(map(str, row)) for row in part.tolist()
        ]
        names = "text" if form == "texts" else ",".join("abcdefgh")
        target = labels if split == "train" else [i % 2 for i in range(6)]
        rows_of = [f"{cell},{label}" for cell, label in zip(cells, target, strict=True)]
        (tmp_path / f"{split}.csv").write_text("\n".join([f"{names},label", *rows_of]))
    return {"name": f"csv:{tmp_path}", "missing": "drop"}


@pytest.mark.parametrize("form", ["images", "vectors", "texts"])
def test_copies_are_found_in_whole_sets_also_where_rows_are_left_out(form, tmp_path):
    spec = copies(tmp_path, form, 300)
    source = {split: data.open(spec, split) for split in ("train", "test")}
    assert len(source["train"]) == 200
    stream = SimpleNamespace(whole=source, data={"train": "train", "test": "test"})
    assert split_check.overlaps(stream, "data") == []  # the first row of train has the label -1
    source |= {split: data.open(spec | {"labels": "number"}, split) for split in source}
    (line,) = split_check.overlaps(stream, "data")
    assert "data.test='test': 1 of 6 examples are also in data.train='train', so" in line


def test_a_sample_is_said_to_be_one(tmp_path, monkeypatch):
    spec = copies(tmp_path, "texts", 50) | {"labels": "number"}
    stream = SimpleNamespace(
        whole={split: data.open(spec, split) for split in ("train", "test")}, data={"train": "train", "test": "test"}
    )
    monkeypatch.setitem(split_check._MOST, "texts", 10)
    (line,) = split_check.overlaps(stream, "data")
    assert "1 of 6 examples are also in data.train='train' (compared: 6 of 6 with 10 of 50), so" in line


@pytest.mark.skipif(not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set")
@pytest.mark.parametrize("name", ["mnist", "tweet_sentiment"])
def test_examples_of_tfds_have_prints_by_content(name):
    some, part = data.open({"name": name}, "train[:200]+test[:50]"), data.open({"name": name}, "train[3:5]")
    prints = [some.fingerprint(i) for i in range(len(some))]
    assert [part.fingerprint(0), part.fingerprint(1)] == prints[3:5]
    contents = [some[i].get("text") or some[i]["image"].tobytes() for i in range(len(some))]
    assert len(set(prints)) == len(set(contents)) > 200


@pytest.mark.parametrize("size", [3, 200_000])
def test_a_split_whose_labels_are_kept_secret_is_refused(size):
    hidden = data.Source(size, dict, ["a", "b"], lambda start, stop: np.full(stop - start, -1))
    stream = SimpleNamespace(whole={"train": hidden}, data={"train": "train"}, task=TASKS["classify"])
    with pytest.raises(InputError, match=r"example 0 has label -1; .* -1 stands for none: set data\.missing='drop'"):
        split_check.check(stream, "data")


def test_an_argument_of_a_config_may_be_such_a_split():
    given = configs.parse("train=random(:80%, seed=1),test=random(80%:, seed=1)", train="", test="", data="x")
    assert given == {"train": "random(:80%, seed=1)", "test": "random(80%:, seed=1)", "data": "x"}
