"""Sources of texts: TFDS, CSV, JSON lines, Parquet, plain and parallel files, and files that are not what they say."""

import contextlib
import json
import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.modalities.text import lines, tfds_text

TFDS = pytest.mark.skipif(not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set")
ROWS = [("Guten Tag,\nSie!", "good"), ('a "quoted" one', "bad"), ("", "good"), ("naïve\u2028café", "odd, or not")]


def write_csv(path, rows=ROWS):
    quoted = "".join(",".join('"' + value.replace('"', '""') + '"' for value in row) + "\r\n" for row in rows)
    path.write_bytes(b"\xef\xbb\xbftext,label\r\n" + quoted.encode())


def write_jsonl(path, rows=ROWS):
    path.write_text("\n\n".join(json.dumps({"label": b, "id": 1, "text": a}) for a, b in rows))


def write_parquet(path, rows=ROWS):
    table = pyarrow.table({"text": [a for a, _ in rows], "id": [1] * len(rows), "label": [b for _, b in rows]})
    pyarrow.parquet.write_table(table, path, row_group_size=2)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


def open_text(tmp_path, content, suffix, split="all", **spec):
    path = tmp_path / f"set.{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    kind = {"csv": "csv", "tsv": "csv", "jsonl": "jsonl", "txt": "text"}[suffix]
    return data.open({"name": f"{kind}:{path}", **spec}, split)


def objects(*rows):
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_examples(kind, tmp_path):
    WRITERS[kind](tmp_path / f"set.{kind}")
    source = data.open({"name": f"{kind}:{tmp_path}/set.{kind}", "image_key": "image", "label_key": "label"}, "all")
    assert source.class_names == ["bad", "good", "odd, or not"]
    assert source.labels.tolist() == [1, 0, 1, 2]
    assert source.labels.dtype == np.int32
    assert [source[i] for i in (3, 0, 2, 1)] == [
        {"text": ROWS[i][0], "label": int(source.labels[i])} for i in (3, 0, 2, 1)
    ]
    half = data.open({"name": f"{kind}:{tmp_path}/set.{kind}"}, "all[50%:]")
    assert [half[0], half[1]] == [source[2], source[3]]


@pytest.mark.parametrize("kind", WRITERS)
def test_splits_share_their_classes_and_may_be_in_parts(kind, tmp_path):
    parts = {"train-00000-of-00002": ROWS[:1], "train-00001-of-00002": ROWS[1:2], "test": ROWS[2:]}
    for stem, rows in parts.items():
        WRITERS[kind](tmp_path / f"{stem}.{kind}", rows)
    (tmp_path / "notes.md").write_text("not data")
    train, test = (data.open({"name": f"{kind}:{tmp_path}"}, split) for split in ("train", "test"))
    assert [example["text"] for example in train] == [text for text, _ in ROWS[:2]]
    assert train.class_names == test.class_names == ["bad", "good", "odd, or not"]
    assert (train.labels.tolist(), test.labels.tolist()) == ([1, 0], [1, 2])
    chosen = data.open({"name": f"{kind}:{tmp_path}/{{test,train-00000-of-00002}}.{kind}"}, "all")
    assert len(chosen) == 3


@TFDS
@pytest.mark.parametrize("kind", [*WRITERS, "text"])
def test_a_folder_for_each_split(kind, tmp_path):
    suffix = {"text": "txt"}.get(kind, kind)
    write = WRITERS.get(kind, lambda path, rows=ROWS: path.write_text("\n".join(text for text, _ in rows)))
    for name, rows in {"Training/a": ROWS[:1], "Training/b": ROWS[1:2], "val/a": ROWS[3:], ".old/a": ROWS[:1]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / f"{name}.{suffix}", rows)
    (tmp_path / "images").mkdir()
    spec = {"name": f"{kind}:{tmp_path}"}
    train = [text for text, _ in ROWS[:2]]
    expected = train if kind in WRITERS else "\n".join(train).split("\n")
    assert [example["text"] for example in data.open(spec, "train")] == expected
    assert [example["text"] for example in data.open(spec, "validation")] == [ROWS[3][0]]
    write(tmp_path / "images" / f"a.{suffix}", ROWS[:1])
    with pytest.raises(InputError, match=rf"holds no .*\.{suffix}.* file; its folders do, but 'images' is no split"):
        data.open(spec, "train")


@TFDS
def test_tweets_are_read_by_name():
    source = data.open({"name": "tweet_sentiment", "image_key": "image", "label_key": "label"}, "test")
    assert source.class_names == ["negative", "neutral", "positive"]
    assert len(source) == 4000
    assert len(data.open({"name": "tweet_sentiment"}, "all")) == 31158 + 3000 + 4000
    for i in (0, 1999, 3999):
        assert isinstance(source[i]["text"], str)
        assert source[i]["label"] == source.labels[i]
    alone = data.open({"name": "tweet_sentiment", "label_key": ""}, "validation[:2]")
    assert [sorted(example) for example in alone] == [["text"], ["text"]]


@TFDS
def test_bytes_in_tfds_that_are_no_text_are_named(monkeypatch):
    monkeypatch.setattr(tfds_text, "decoder", lambda features, keys: lambda record: {"text": b"na\xef", "label": 0})
    with pytest.raises(InputError, match="example 3: a text is not UTF-8"):
        data.open({"name": "tweet_sentiment"}, "test")[3]


def test_pairs_targets_and_named_columns(tmp_path):
    rows = {"premise": "a", "hypothesis": "b", "label": 1}, {"premise": "c", "hypothesis": "d", "label": 0}
    pair = open_text(tmp_path, objects(*rows), "jsonl")
    assert pair[1] == {"text": "c", "text_pair": "d", "label": 0}
    seq = open_text(tmp_path, "en,de\nhello,hallo\n", "csv", text_key="en", target_key="de", label_key="label")
    assert (seq[0], seq.label_kind, seq.class_names) == ({"text": "hello", "target": "hallo"}, "none", [])
    swapped = open_text(tmp_path, objects(*rows), "jsonl", text_key="hypothesis", pair_key="premise")
    assert swapped[0] == {"text": "b", "text_pair": "a", "label": 1}
    tabs = open_text(tmp_path, "sentence\tlabel\n\"it 's\t1\n", "tsv")
    assert tabs[0] == {"text": "\"it 's", "label": 1}


@pytest.mark.parametrize(
    ("values", "kind", "names", "labels"),
    [
        (["10", "2", "0"], "class", [str(i) for i in range(11)], [10, 2, 0]),
        ([True, False], "class", ["false", "true"], [1, 0]),
        ([0.5, 2], "number", ["label"], [0.5, 2]),
        (["0.5", "-1e2", "3"], "number", ["label"], [0.5, -100, 3]),
        ([["b", "a"], []], "classes", ["a", "b"], [[1, 1], [0, 0]]),
        ([[2], [0]], "classes", ["0", "1", "2"], [[0, 0, 1], [1, 0, 0]]),
        ([[0.0, 1.0], [0.5, 0.0]], "classes", ["0", "1"], [[0, 1], [0.5, 0]]),
        ([[True, False]], "classes", ["0", "1"], [[1, 0]]),
    ],
)
def test_kinds_of_labels(tmp_path, values, kind, names, labels):
    source = open_text(tmp_path, objects(*({"text": "x", "label": value} for value in values)), "jsonl")
    assert (source.label_kind, source.class_names) == (kind, names)
    assert source.labels.dtype == (np.int32 if kind == "class" else np.float32)
    np.testing.assert_array_equal(source.labels, np.array(labels, source.labels.dtype))
    np.testing.assert_array_equal(source[0]["label"], source.labels[0])


def test_several_columns_are_several_labels(tmp_path):
    source = open_text(tmp_path, "text,toxic,rude\nx,0,1\ny,1,1\n", "csv", label_key="toxic,rude")
    assert (source.label_kind, source.class_names) == ("classes", ["toxic", "rude"])
    np.testing.assert_array_equal(source.labels, np.array([[0, 1], [1, 1]], np.float32))


SECRET = [0, 1, -1, 2, -1]


@pytest.mark.parametrize("kind", WRITERS)
def test_minus_one_among_classes_stands_for_none(kind, tmp_path):
    rows = [(f"text {i}", str(label) if kind == "csv" else label) for i, label in enumerate(SECRET)]
    WRITERS[kind](tmp_path / f"set.{kind}", rows)
    spec = {"name": f"{kind}:{tmp_path}/set.{kind}"}
    says = "the label -1 of 'label' stands for none: 2 of 5 labels 'label' are missing; set data.missing='drop'"
    with pytest.raises(InputError, match=says):
        data.open(spec, "all")
    source = data.open({**spec, "missing": "drop"}, "all")
    assert [(example["text"], example["label"]) for example in source] == [("text 0", 0), ("text 1", 1), ("text 3", 2)]
    assert "2 of 5 labels 'label' are missing (-1 stands for none); 2 of 5 rows are left out" in source.notes[0]
    numbers = data.open({**spec, "labels": "number"}, "all")
    assert numbers.labels.tolist() == SECRET


@pytest.mark.parametrize("labels", [[-1, 1, 1, -1], [1, 2, -1], [0, 1, -2], [-1, -1]])
def test_minus_one_is_a_mistake_where_others_are_not_counted_from_0(labels, tmp_path):
    (tmp_path / "set.csv").write_text("text,label\n" + "".join(f"a,{label}\n" for label in labels))
    with pytest.raises(InputError, match=r"the label -[12] of 'label' is out of range"):
        data.open({"name": f"csv:{tmp_path}/set.csv", "missing": "drop"}, "all")


def test_minus_one_in_a_column_of_decimal_numbers_is_one_of_them(tmp_path):
    (tmp_path / "set.csv").write_text("text,label\na,-1\nb,0\nc,0.5\n")
    source = data.open({"name": f"csv:{tmp_path}/set.csv", "missing": "drop"}, "all")
    assert (source.label_kind, source.labels.tolist()) == ("number", [-1, 0, 0.5])


def test_words_have_tags(tmp_path):
    rows = {"tokens": ["New", "York"], "ner_tags": ["B", "I"]}, {"tokens": ["is"], "ner_tags": ["O"]}
    source = open_text(tmp_path, objects(*rows), "jsonl")
    assert (source.label_kind, source.class_names) == ("tags", ["B", "I", "O"])
    assert source[0] == {"tokens": ["New", "York"], "label": [0, 1]}
    with pytest.raises(InputError, match="each word has its own"):
        _ = source.labels
    masked = open_text(tmp_path, objects({"tokens": ["a", "b"], "tags": [-100, 1]}), "jsonl")
    assert masked[0]["label"] == [-1, 1]


def test_class_names_come_from_the_parquet_schema(tmp_path):
    names = {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"text": ["a", "b"], "label": [1, 0]})
    pyarrow.parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "all.parquet"
    )
    source = data.open({"name": f"parquet:{tmp_path}"}, "all")
    assert (source.class_names, source[0]) == (["neg", "pos"], {"text": "a", "label": 1})


@pytest.mark.parametrize(
    ("by", "texts"),
    {
        "": ["one", "two", "three ", "four"],
        "line": ["one", "two", "three ", "four"],
        "paragraph": ["one\ntwo", "three \nfour"],
        "document": ["one\ntwo\n\n \nthree \nfour"],
        "detected": ["one\ntwo", "three \nfour"],
    }.items(),
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_text_of_a_plain_file_is(tmp_path, by, texts, end):
    source = open_text(tmp_path, "\none\ntwo\n\n \nthree \nfour\n\n".replace("\n", end), "txt", sample_by=by)
    assert [example["text"] for example in source] == [text.replace("\n", end) for text in texts]
    told = "each of 4 lines is a text; empty lines divide them into 2 paragraphs, which data.sample_by='paragraph'"
    assert (told in "".join(source.notes)) == (by in ("", "line"))


def test_plain_files_that_a_pattern_finds(tmp_path):
    for name, text in (("b/two.txt", "c\n\nd"), ("a.txt", "a\n" + "b" * 100_000), ("c.md", "x"), ("train-1.txt", "t")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    every = data.open({"name": f"text:{tmp_path}/**/*.txt"}, "all[:100%]")
    assert [example["text"][:2] for example in every] == ["a", "bb", "c", "d", "t"]
    assert [example["text"] for example in data.open({"name": f"text:{tmp_path}/train*.txt"}, "train")] == ["t"]
    found = data.open({"name": f"text:{tmp_path}/[ab]*/*.txt", "sample_by": "document"}, "all")
    assert [example["text"] for example in found] == ["c\n\nd"]
    with pytest.raises(InputError, match=r"no such file or folder; .* holds a.txt, b, c.md"):
        data.open({"name": f"text:{tmp_path}/*.text"}, "all")
    with pytest.raises(InputError, match=r"unknown data.sample_by 'paragraf'; nearest: paragraph"):
        data.open({"name": f"text:{tmp_path}/a.txt", "sample_by": "paragraf"}, "all")


def test_plain_and_parallel_texts(tmp_path):
    documents = open_text(tmp_path, "one\r\ntwo\nthree\n\n", "txt")
    assert [example["text"] for example in documents] == ["one", "two", "three"]
    for name, text in (("train.en", "a\nb\n"), ("train.de", "A\n\n"), ("test.en", "c"), ("test.de", "C")):
        (tmp_path / name).write_text(text)
    two = data.open({"name": f"parallel:{tmp_path}/train.de,{tmp_path}/train.en"}, "all")
    assert list(two) == [{"text": "A", "target": "a"}, {"text": "", "target": "b"}]
    (tmp_path / "set.txt").unlink()
    folder = data.open({"name": f"parallel:{tmp_path}", "text_key": "en", "target_key": "de"}, "test")
    assert list(folder) == [{"text": "c", "target": "C"}]


@pytest.mark.parametrize(
    ("content", "suffix", "spec", "message"),
    [
        ("", "csv", {}, r"set\.csv: is empty; its first line must name the columns"),
        ("text,label\n", "csv", {}, r"set\.csv: holds no example"),
        ("text,text\na,b", "csv", {}, "line 1: names a column twice"),
        ('text,label\n"a\nb",1\nc,1,2\n', "csv", {}, r"set\.csv, line 4: has 3 fields, but the header names 2"),
        ('text,label\n"a"b,1\n', "csv", {}, r"line 2: is no row of a CSV file: .*quotes"),
        ('text,label\na,1\n"b,1\n', "csv", {}, r"line 3: is no row of a CSV file"),
        (b"text,label\nna\xefve,1\n", "csv", {}, r"line 2: byte 2 of the line is not UTF-8"),
        ("words,mood\na,1", "csv", {"text_key": "text"}, "no column 'text'; set data.text_key to one of: words, mood"),
        ("a,b,label\nx,y,1", "csv", {}, "which column is the text; set data.text_key to one of: a, b, label"),
        ("text,sentence\nx,y", "csv", {}, "text, sentence could each be the text; set data.text_key"),
        ("text,mood\nx,1", "csv", {}, "no column 'label'; set data.label_key to one of: text, mood"),
        ("text,label\nx,1", "csv", {"pair_key": "other"}, "no column 'other'; set data.pair_key"),
        ("text,label\nx,1\ny,\n", "csv", {}, "line 3: the label 'label' is empty"),
        ("text,label\nx,-1", "csv", {}, r"line 2: the label -1 of 'label' is out of range 0 to 0; -1 often"),
        ("text,label\nx,7000000", "csv", {}, "too many classes"),
        ("text,a,b\nx,0,2", "csv", {"label_key": "a,b"}, "line 2: 'b' must be 0 or 1 .* not '2'"),
        ("", "jsonl", {}, r"set\.jsonl: is empty"),
        ('{"text": "a", "label": 1}\n{"text": ', "jsonl", {}, r"line 2: is no JSON"),
        ("[1, 2]\n", "jsonl", {}, r"line 1: must be an object \{…\}, not '\[1, 2\]'"),
        pytest.param("[" * 100000, "jsonl", {}, r"line 1: is no JSON", id="deep"),
        (b'{"text": "\xff", "label": 1}', "jsonl", {}, "line 1: byte 10 of the line is not UTF-8"),
        (objects({"text": "a", "label": 1}, {"text": "a"}), "jsonl", {}, r"line 2: has no 'label', only text"),
        (objects({"text": "a", "label": 1}, {"text": 3, "label": 1}), "jsonl", {}, "line 2, 'text': must be a text"),
        (objects({"text": "a", "label": 1}, {"text": "b", "label": "x"}), "jsonl", {}, "line 2: .* unlike others"),
        (objects({"text": "a", "label": 1}, {"text": "b", "label": [1]}), "jsonl", {}, r"line 2: .* is a list, unlike"),
        (objects({"text": "a", "label": None}), "jsonl", {}, "line 1: the label 'label' is empty"),
        (objects({"text": "a", "label": [1, 1]}), "jsonl", {}, "line 1: .* names a class twice"),
        (objects({"text": "a", "label": [0.5, 1.5]}), "jsonl", {}, "line 1: .* must be 2 numbers from 0 to 1"),
        ('{"text": "a", "label": NaN}', "jsonl", {}, "line 1: the label nan"),
        (objects({"tokens": ["a", 1], "tags": [0, 0]}), "jsonl", {}, "line 1, 'tokens': must be a list of words"),
        (objects({"tokens": ["a"], "tags": 1}), "jsonl", {}, "line 1: .* a list with one label for each word"),
        ("", "txt", {}, r"set\.txt: is empty"),
        (b"a\nb\xff\n", "txt", {}, "line 2: byte 1 of the line is not UTF-8"),
    ],
)
def test_damaged_files_are_named_with_the_line(tmp_path, content, suffix, spec, message):
    with pytest.raises(InputError, match=message):
        open_text(tmp_path, content, suffix, **spec)


def test_words_and_tags_that_differ_in_number_are_named(tmp_path):
    rows = {"tokens": ["a"], "tags": [0]}, {"tokens": ["a", "b"], "tags": [0]}
    with pytest.raises(InputError, match="line 2: has 2 words but 1 labels"):
        open_text(tmp_path, objects(*rows), "jsonl")[1]


def test_missing_files_are_named(tmp_path):
    (tmp_path / "near.csv").write_text("text\n")
    with pytest.raises(InputError, match=r"no such file or folder; .* holds near\.csv"):
        data.open({"name": f"csv:{tmp_path}/far.csv"}, "all")
    with pytest.raises(InputError, match=r"there is no file .*b\.csv"):
        data.open({"name": f"csv:{tmp_path}/{{near,b}}.csv"}, "all")
    with pytest.raises(InputError, match=r"holds no \.parquet file"):
        data.open({"name": f"parquet:{tmp_path}"}, "all")


def test_parallel_files_must_be_aligned(tmp_path):
    for name, text in (("a.en", "1\n2"), ("a.de", "1\n2\n3"), ("b.de", "x")):
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"a\.en has 2 lines and .*a\.de 3"):
        data.open({"name": f"parallel:{tmp_path}/a.en,{tmp_path}/a.de"}, "all")
    with pytest.raises(InputError, match=r"set data\.text_key to the language, one of: de, en"):
        data.open({"name": f"parallel:{tmp_path}"}, "a")
    with pytest.raises(InputError, match=r"b is there in one language only; add b\.en"):
        data.open({"name": f"parallel:{tmp_path}", "text_key": "en", "target_key": "de"}, "a")
    with pytest.raises(InputError, match="two files"):
        data.open({"name": f"parallel:{tmp_path}/a.en"}, "all")


@pytest.mark.parametrize("eighth", range(8))
def test_a_truncated_parquet_file_is_named(tmp_path, eighth):
    path = tmp_path / "set.parquet"
    write_parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * eighth // 8])
    with pytest.raises(InputError, match=r"set\.parquet: cannot be read as Parquet"):
        data.open({"name": f"parquet:{path}"}, "all")


def test_flipped_bytes_in_parquet_never_crash(tmp_path):
    path = tmp_path / "set.parquet"
    write_parquet(path)
    whole = path.read_bytes()
    for place in range(4, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            list(data.open({"name": f"parquet:{path}"}, "all"))


def test_a_null_text_is_named(tmp_path):
    write_parquet(tmp_path / "set.parquet", [("a", "x"), (None, "x")])
    with pytest.raises(InputError, match="row 2, 'text': must be a text, not None"):
        list(data.open({"name": f"parquet:{tmp_path}"}, "set"))


def test_a_small_file_stays_what_it_was(tmp_path):
    source = open_text(tmp_path, "text,label\na,0\nbbbb,1\n", "csv")
    (tmp_path / "set.csv").write_text("text,label\n")
    assert source[1] == {"text": "bbbb", "label": 1}


def test_a_large_file_that_shrinks_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "HELD", 30)
    (tmp_path / "held").mkdir()
    held = open_text(tmp_path / "held", "text,label\nc,0\n", "csv")
    source = open_text(tmp_path, "text,label\na,0\nbbbb,1\n", "csv")
    (tmp_path / "set.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="is shorter than when it was opened"):
        source[1]
    assert held[0]["text"] == "c"
