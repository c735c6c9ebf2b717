"""Vectors: their readers, their standardisation, and what is answered to input that is none."""

import json

import jax.numpy as jnp
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.data.source import Source
from jtransfer.modalities.vector.modality import Vector
from jtransfer.tasks import TASKS

X = np.array([[1.5, -2.0, 3.0], [4.0, 5.0, 6.5], [0.0, 1.0, 2.0]])
TABLE = "id,a,b,label\n7,1.5,-2,yes\n8,4e0,5.0,no\n 9 ,+0,1.0,yes\n"


def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return {"name": f"npz:{tmp_path / 'set.npz'}"}


def save_csv(tmp_path, text, name="set.csv"):
    (tmp_path / name).write_text(text)
    return {"name": f"csv:{tmp_path / name}"}


def held(source):
    """All vectors and labels of a source."""
    examples = [source[i] for i in range(len(source))]
    assert {example["vector"].dtype for example in examples} == {np.dtype(np.float32)}
    np.testing.assert_array_equal([example["label"] for example in examples], source.labels)
    return np.stack([example["vector"] for example in examples]), source.labels.tolist()


# Arrays


@pytest.mark.parametrize("names", [("features", "labels"), ("x", "y")])
@pytest.mark.parametrize(
    ("labels", "kind", "values", "classes"),
    [
        ([0, 2, 1], "class", [0, 2, 1], ["0", "1", "2"]),
        (["cat", "ant", "cat"], "class", [1, 0, 1], ["ant", "cat"]),
        ([0.5, 2.25, -1.0], "number", [0.5, 2.25, -1.0], ["label"]),
        ([[0, 1], [1, 1], [0, 0]], "classes", [[0, 1], [1, 1], [0, 0]], ["0", "1"]),
    ],
)
def test_arrays_of_all_examples(tmp_path, names, labels, kind, values, classes):
    spec = save_npz(tmp_path, **dict(zip(names, (X, np.array(labels)), strict=True)))
    source = data.open(spec, "all")
    vectors, found = held(source)
    np.testing.assert_array_equal(vectors, X.astype(np.float32))
    assert (found, source.label_kind, source.class_names) == (values, kind, classes)


def test_arrays_of_splits_and_of_other_types(tmp_path):
    train = np.arange(6, dtype=np.uint8).reshape(2, 3)
    spec = save_npz(tmp_path, x_train=train, y_train=[0, 1], x_test=X[:1].astype(np.float16), y_test=[1])
    assert [len(data.open(spec, split)) for split in ("train", "test", "all")] == [2, 1, 3]
    np.testing.assert_array_equal(held(data.open(spec, "train"))[0], train)
    np.testing.assert_array_equal(held(data.open(spec, "test"))[0], X[:1])


def test_images_in_an_npz_stay_images(tmp_path):
    spec = save_npz(tmp_path, x_train=np.zeros((2, 4, 4), np.uint8), y_train=[0, 1])
    assert data.open(spec, "train")[0]["image"].shape == (4, 4, 3)
    with pytest.raises(InputError, match=r"vectors must be numbers \[N, d\], not uint8 \[2, 4, 4\]"):
        data.open(spec | {"modality": "vector"}, "train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": X}, "needs the arrays .*features and labels.* it has features"),
        ({"features": X, "labels": [0, 1]}, "3 examples but 2 labels"),
        ({"features": X[:, :0], "labels": [0, 1, 0]}, r"must be numbers \[N, d\], not float64 \[3, 0\]"),
        ({"x": X.astype(str), "y": [0, 1, 0]}, r"must be numbers \[N, d\]"),
        ({"x": np.where(X == 5, np.nan, X), "y": [0, 1, 0]}, "split all: number 1 of vector 1 is nan"),
        ({"x": np.where(X == 5, 1e300, X), "y": [0, 1, 0]}, r"number 1 of vector 1 is 1e\+300"),
        (
            {"x_train": X, "y_train": [0, 1, 0], "x_test": X[:, :2], "y_test": [0, 1, 0]},
            "in length: train 3, test 2",
        ),
        ({"x": X, "y": [0, 1, -1]}, "example 2: the label -1 of 'label' stands for none: 1 of 3 labels"),
    ],
)
def test_arrays_that_are_no_vectors(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as error:
        data.open(save_npz(tmp_path, **arrays) | {"modality": "vector"}, "all")
    assert "\n" not in str(error.value)


# Tables


def test_a_csv_file(tmp_path):
    spec = save_csv(tmp_path, TABLE)
    source = data.open(spec, "all")
    vectors, labels = held(source)
    np.testing.assert_array_equal(vectors, [[7, 1.5, -2], [8, 4, 5], [9, 0, 1]])
    assert (labels, source.class_names) == ([1, 0, 1], ["no", "yes"])
    chosen = data.open(spec | {"columns": "b, a"}, "all")
    np.testing.assert_array_equal(held(chosen)[0], [[-2, 1.5], [5, 4], [1, 0]])
    number = data.open(spec | {"columns": "id", "label_key": "b"}, "all")
    assert (number.label_kind, held(number)[1]) == ("number", [-2.0, 5.0, 1.0])


def test_a_parquet_file(tmp_path):
    columns = {"a": [1, 2], "b": [0.5, 1.5], "c": [True, False], "kind": [["x"], ["x", "y"]]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "set.parquet")
    source = data.open({"name": f"parquet:{tmp_path}/set.parquet", "label_key": "kind"}, "all")
    vectors, labels = held(source)
    np.testing.assert_array_equal(vectors, [[1, 0.5, 1], [2, 1.5, 0]])
    assert (labels, source.class_names, source.label_kind) == ([[1, 0], [1, 1]], ["x", "y"], "classes")


def test_splits_of_several_files_and_of_tabs(tmp_path):
    header, rows = "a\tb\tlabel\n", "1\t2\t0\n"
    for name, count in (("train-00000-of-00002", 2), ("train-00001-of-00002", 3), ("test", 1)):
        (tmp_path / f"{name}.tsv").write_text(header + rows * count)
    folder, braces = f"csv:{tmp_path}", f"csv:{tmp_path}/{{train-00001-of-00002,test}}.tsv"
    sizes = {name: [len(data.open({"name": name}, split)) for split in ("train", "test")] for name in (folder, braces)}
    assert sizes == {folder: [5, 1], braces: [3, 1]}


def test_several_labels_and_none(tmp_path):
    spec = save_csv(tmp_path, "a,toxic,threat\n1,0,1\n2,1,1\n")
    several = data.open(spec | {"label_key": "toxic,threat"}, "all")
    assert (held(several)[1], several.label_kind) == ([[0, 1], [1, 1]], "classes")
    none = data.open(spec | {"label_key": ""}, "all")
    assert (none.label_kind, len(none[0]["vector"])) == ("none", 3)


def test_tables_of_texts_stay_texts(tmp_path):
    spec = save_csv(tmp_path, "text,length,label\nso it is,8,0\n")
    assert data.open(spec, "all")[0]["text"] == "so it is"
    assert data.open(spec | {"modality": "vector", "columns": "length"}, "all")[0]["vector"].tolist() == [8]
    with pytest.raises(InputError, match="which column is the text"):
        data.open(save_csv(tmp_path, "comment,label\nso it is,0\n"), "all")


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, r"set\.csv: is empty"),
        ("a,label\n", {}, "has no column of numbers|which column is the text"),
        ("a,a,label\n1,2,0\n", {}, "line 1: names a column twice"),
        ("a,b,label\n1,2,0\n1,2\n", {}, r"set\.csv, line 3: has 2 fields, but the header names 3"),
        ("a,b,label\n1,2,0\n\n1,,0\n", {}, r"set\.csv, line 4: the column 'b' is empty or not finite; fill it"),
        ("a,b,label\n1,2,0\n1,NaN,0\n", {}, "line 3: the column 'b' is empty or not finite"),
        ("a,b,label\n1,2,0\n1,n/a,0\n", {}, "line 3: the column 'b' is empty or not finite"),
        ("a,b,label\n1,inf,0\n", {}, "line 2: the column 'b' is empty or not finite"),
        ("a,b,label\n1,x,0\n2,y,1\n", {}, "line 2: the column 'b' has no number, but 'x'; name .* in data.columns"),
        ("a,b,label\n1,2,0\n2,3 m,1\n", {}, "line 3: the column 'b' has no number, but '3 m'"),
        ("a,b,label\n1,2,0\n2,3,\n", {}, "line 3: the label 'label' is empty"),
        ("a,b,label\n1,2,0\n2,3,-1\n", {}, "line 3: the label -1 of 'label' stands for none"),
        ("a,b\n1,2\n", {}, "no column 'label'; set data.label_key to one of: a, b"),
        ("a,b,label\n1,2,0\n", {"columns": "a,c"}, "data.columns names 'c'; the columns but the label are a, b"),
        ("a,b,label\n1,2,0\n", {"columns": "label"}, "data.columns names 'label'; the columns but the label are a, b"),
        ('a,b,label\n1,"2,0\n', {}, "line 2: .* check its quotes"),
    ],
)
def test_broken_tables_are_answered_with_line_and_column(tmp_path, text, fields, message):
    with pytest.raises(InputError, match=message) as error:
        data.open(save_csv(tmp_path, text) | fields, "all")
    assert "\n" not in str(error.value)


def test_broken_parquet_files(tmp_path):
    def opened(columns, **fields):
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "set.parquet")
        return data.open({"name": f"parquet:{tmp_path}/set.parquet", **fields}, "all")

    with pytest.raises(InputError, match="row 2: the column 'a' is empty"):
        opened({"a": [1, None], "label": [0, 1]})
    with pytest.raises(InputError, match="the column 'b' has no number, but string"):
        opened({"a": [1, 2], "b": ["x", "y"], "label": [0, 1]})
    (tmp_path / "set.parquet").write_bytes(b"none")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        data.open({"name": f"parquet:{tmp_path}/set.parquet"}, "all")


def test_files_must_have_the_same_columns(tmp_path):
    save_csv(tmp_path, "a,b,label\n1,2,0\n", "train.csv")
    save_csv(tmp_path, "a,label\n1,0\n", "test.csv")
    with pytest.raises(InputError, match=r"test\.csv: has no column 'b', only a, label"):
        data.open({"name": f"csv:{tmp_path}/{{train,test}}.csv"}, "train")


# scikit-learn's sets


@pytest.mark.parametrize(
    ("name", "shape", "classes", "first"),
    [
        ("iris", (150, 4), 3, [5.1, 3.5, 1.4, 0.2]),
        ("wine", (178, 13), 3, [14.23, 1.71]),
        ("breast_cancer", (569, 30), 2, [17.99, 10.38]),
        ("digits", (1797, 64), 10, [0, 0, 5, 13]),
    ],
)
def test_the_sets_of_scikit_learn(name, shape, classes, first):
    pytest.importorskip("sklearn")
    source = data.open({"name": f"sklearn:{name}"}, "all")
    vectors, labels = held(source)
    assert (vectors.shape, len(source.class_names), set(labels)) == (shape, classes, set(range(classes)))
    np.testing.assert_allclose(vectors[0, : len(first)], first, rtol=1e-6)


def test_diabetes_is_of_numbers_and_others_are_named():
    pytest.importorskip("sklearn")
    source = data.open({"name": "sklearn:diabetes"}, "all[:3]")
    assert (source.label_kind, held(source)[1]) == ("number", [151.0, 75.0, 141.0])
    with pytest.raises(InputError, match="unknown set of scikit-learn 'irys'; nearest: iris"):
        data.open({"name": "sklearn:irys"}, "all")


# Standardisation


def of_rows(rows):
    return Source(len(rows), lambda i: {"vector": rows[i], "label": 0}, ["a"], lambda a, b: np.zeros(b - a, np.int32))


def opened(rows, folder="none", init="scratch", **fields):
    return Vector(**fields).open((folder, init), of_rows(rows))


def test_standardisation_is_numpys(tmp_path):
    rows = np.random.default_rng(0).normal(3, 40, (5000, 7)).astype(np.float32)
    rows[:, 2] = 0.1
    found = opened(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0, np.float64), rtol=1e-6)
    expected = rows.std(0, np.float64)
    np.testing.assert_allclose(found.std, np.where(np.arange(7) == 2, 1, expected), rtol=1e-6)
    inputs = jnp.asarray(found.make_transform(TASKS["classify"], None, train=False)({"vector": rows[0]})["inputs"])
    given = found.make_preprocess(None, train=False)(inputs)
    np.testing.assert_allclose(given, (rows[0] - found.mean) / found.std, rtol=1e-5)
    assert abs(given[2]) < 1e-6


def test_statistics_travel_with_a_run(tmp_path):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2
    first = opened(rows)
    first.save(tmp_path)
    for again in (
        opened(rows * 3, folder=tmp_path),
        opened(rows * 3, init=tmp_path, statistics="init"),
        Vector().open((tmp_path, "scratch"), of_rows(rows[:0])),
    ):
        np.testing.assert_array_equal(again.mean, first.mean)
        np.testing.assert_array_equal(again.std, first.std)
    plain = opened(rows, init=tmp_path, statistics="none")
    np.testing.assert_array_equal(plain.make_preprocess(None, train=False)(rows), rows)


def test_what_is_wrong_with_statistics_is_said(tmp_path):
    rows = np.ones((3, 2), np.float32)
    opened(rows).save(tmp_path)
    for fields, message in (
        ({"statistics": "trian"}, "unknown data.statistics 'trian'; nearest: train"),
        ({"statistics": "init"}, "data.statistics='init', but scratch is no run on vectors"),
    ):
        with pytest.raises(InputError, match=message):
            opened(rows, **fields)
    with pytest.raises(InputError, match=r"the vectors have 3 numbers, but .* has those of 2"):
        opened(np.ones((3, 3), np.float32), init=tmp_path, statistics="init")
    with pytest.raises(InputError, match=r"has no vector\.json"):
        Vector().open((tmp_path / "other", "scratch"), of_rows(rows[:0]))
    (tmp_path / "vector.json").write_text(json.dumps({"mean": [1.0], "std": [0.0]}))
    with pytest.raises(InputError, match=r"vector\.json is damaged"):
        opened(rows, folder=tmp_path)


@pytest.mark.parametrize("row", [[1.0, np.nan], [1.0]])
def test_a_source_of_ones_own_must_hold_finite_numbers_of_one_length(row):
    with pytest.raises(InputError, match="example 1 must be 2 finite numbers"):
        opened([np.zeros(2), np.array(row)])


def test_vectors_are_given_as_a_file_or_as_numbers(tmp_path):
    vector = opened(np.eye(3, dtype=np.float32))
    np.save(tmp_path / "one.npy", np.array([1, 2, 3]))
    for given in (str(tmp_path / "one.npy"), "1,2.0, 3e0"):
        np.testing.assert_array_equal(vector.read(given, TASKS["classify"])["vector"], [1, 2, 3])
    np.save(tmp_path / "words.npy", np.array(["a", "b", "c"]))
    np.save(tmp_path / "objects.npy", np.array([print, 1, 2]), allow_pickle=True)
    np.savez(tmp_path / "many.npz", a=np.zeros(3))
    (tmp_path / "empty.npy").write_bytes(b"")
    for given, message in (
        ("1,2", r"'1,2' has the shape \[2\]; the run takes 3 numbers"),
        ("1,2,x", "neither a .npy file that is there nor numbers separated by commas"),
        ("1,2,nan", "must be finite numbers"),
        (str(tmp_path / "none.npy"), "neither a .npy file"),
        (str(tmp_path / "words.npy"), "must be finite numbers; they are <U1"),
        (str(tmp_path / "objects.npy"), "cannot be read as a .npy file"),
        (str(tmp_path / "many.npz"), "holds several arrays"),
        (str(tmp_path / "empty.npy"), "cannot be read as a .npy file"),
    ):
        with pytest.raises(InputError, match=message):
            vector.read(given, TASKS["classify"])
