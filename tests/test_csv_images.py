"""A CSV file names images, with or without suffixes, and has their labels."""

import cv2
import numpy as np
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.runs import build, config
from jtransfer.runs.stream import open_stream

SUFFIXES = (".jpg", ".png", ".JPG")


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for i in range(6):
            image = np.full((8, 8, 3), 40 * i, np.uint8)
            assert cv2.imwrite(str(tmp_path / split / f"im{i}{SUFFIXES[i % 3]}"), image)
    return tmp_path


def opened(folder, text, split="all", name="set.csv", **spec):
    (folder / name).write_text(text)
    return data.open({"name": f"csv:{folder / name}", "image_key": "image", **spec}, split)


def rows(header, cells):
    return "\n".join([header, *cells]) + "\n"


NAMED = [f"train/im{i}{SUFFIXES[i % 3]}" for i in range(6)]
BARE = [f"im{i}" for i in range(6)]


def brightness(source):
    return [round(example["image"].mean() / 40) for example in source]


def test_paths_are_relative_to_the_file_or_to_a_folder(folder):
    source = opened(folder, rows("image,label", (f"{name},c{i % 2}" for i, name in enumerate(NAMED))))
    assert (source.label_kind, source.class_names, source.labels.tolist()) == ("class", ["c0", "c1"], [0, 1] * 3)
    assert brightness(source) == list(range(6))
    assert source[0]["image"].shape == (8, 8, 3)
    for header, key in (("image_id,label", "image"), ("Id,label", "image"), ("picture,label", "picture")):
        for place in ("train", str(folder / "train"), str(folder / "{split}").replace("{split}", "train")):
            found = opened(folder, rows(header, (f"{name},1" for name in BARE)), image_dir=place, image_key=key)
            assert brightness(found) == list(range(6))
    for form in ("train\\{}", "./train/{}", str(folder / "train/{}")):
        assert brightness(opened(folder, rows("file,label", (form.format(n) + ",1" for n in BARE)))) == list(range(6))


def test_labels_are_those_of_any_table(folder):
    where = {"image_dir": "train"}
    number = opened(folder, rows("id,label", (f"{n},{i}.5" for i, n in enumerate(BARE))), **where)
    assert (number.label_kind, number.labels.tolist()) == ("number", [i + 0.5 for i in range(6)])
    several = opened(folder, rows("id,label", (f"{n},a|b" for n in BARE)), labels="classes", **where)
    assert (several.label_kind, several.class_names) == ("classes", ["a", "b"])
    columns = rows("id,rust,scab", (f"{n},{i % 2},{1 - i % 2}" for i, n in enumerate(BARE)))
    assert opened(folder, columns, label_key="rust,scab", **where).label_kind == "classes"
    one = opened(folder, columns, label_key="rust,scab", labels="class", **where)
    assert one.labels.tolist() == [1, 0] * 3
    assert opened(folder, rows("id", BARE), label_key="", **where).label_kind == "none"


def test_splits_have_files_and_folders_of_their_own(folder):
    for split, n in (("train", 6), ("test", 3)):
        (folder / f"{split}.csv").write_text(rows("id,label", (f"{name},{i % 2}" for i, name in enumerate(BARE[:n]))))
    spec = {"name": f"csv:{folder}/{{train,test}}.csv", "image_dir": f"{folder}/{{split}}"}
    assert [len(data.open(spec, split)) for split in ("train", "test")] == [6, 3]
    assert brightness(data.open({"name": f"csv:{folder}", "image_dir": f"{folder}/{{split}}"}, "test")) == [0, 1, 2]


def test_images_that_do_not_exist_are_counted_and_left_out_if_asked(folder):
    text = rows("id,label", [f"im{i},{i % 2}" for i in range(9)])
    with pytest.raises(InputError, match=r"3 of 9 images .*: 'im6' \(.*set\.csv, line 8\), 'im7' .*data\.image_dir"):
        opened(folder, text, image_dir="train")
    kept = opened(folder, text, image_dir="train", missing="drop")
    assert (brightness(kept), kept.labels.tolist()) == (list(range(6)), [0, 1] * 3)
    assert "3 of 9 images" in kept.notes[0]
    (folder / "train" / "im0.png").write_bytes(b"another")
    with pytest.raises(InputError, match="4 of 9 images"):
        opened(folder, text, image_dir="train")


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("picture,label\nx.jpg,1\n", {"modality": "image"}, "set data.image_key to one of: picture, label"),
        ("id,label\nx,1\n", {"image_dir": "none"}, "data.image_dir='none': there is no such folder"),
        ("id,mood\nim0,1\n", {"image_dir": "train"}, "no column 'label'; set data.label_key to one of: id, mood"),
        ("id,label\n", {"modality": "image"}, "holds no example"),
        ("image,label\nhttps://x.org/a.jpg,1\n", {}, "1 of 1 images of the column 'image' do not exist"),
    ],
)
def test_what_is_wrong_is_named(folder, text, spec, message):
    with pytest.raises(InputError, match=message):
        opened(folder, text, **spec)


def test_tables_of_texts_and_of_numbers_are_still_taken_as_such(tmp_path):
    text = opened(tmp_path, "id,text,label\n7,so it is,0\n")
    assert text[0] == {"text": "so it is", "label": 0}
    vector = opened(tmp_path, "id,a,label\n7,1.5,0\n", columns="a")
    assert vector[0]["vector"].tolist() == [1.5]


def settings(folder):
    found = config.default()
    (folder / "set.csv").write_text(rows("id,diagnosis", (f"{n},{i % 2}.0" for i, n in enumerate(BARE))))
    spec = {"name": f"csv:{folder}/set.csv", "image_dir": "train", "label_key": "diagnosis", "transform": "resize(8)"}
    found.data.update(spec | {"train": "all", "test": "all"})
    found.task, found.model.name, found.batch_size = "classify", "resnet18", 8
    found.phases = [config.phase("finetune", steps=1)]
    return found


def test_a_run_reads_it_and_says_what_is_wrong_before_its_folder_is_made(folder):
    right = settings(folder)
    stream = open_stream(right.data, "", right.task, (folder, "scratch"))
    assert (stream.modality_name, stream.class_names) == ("image", ["0", "1"])
    assert stream.whole["train"].notes[0] == "images: 6, named by the column 'id'"
    wrong = settings(folder)
    wrong.data.image_dir = "test"
    (folder / "test" / "im5.JPG").unlink()
    with pytest.raises(InputError, match="1 of 6 images"):
        build.prepare(wrong, folder / "run")
    assert not (folder / "run").exists()
