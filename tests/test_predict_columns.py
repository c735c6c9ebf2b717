"""Columns of predictions by task, how they are joined from parts, and how far a command is."""

import io

import numpy as np
import pytest

from jtransfer.core.errors import InputError
from jtransfer.predicting import columns as choosing
from jtransfer.predicting import formats, progress
from jtransfer.tasks import columns


def test_tags_and_several_classes_are_lists():
    table = {"predicted": np.array([[0, 1, 2, 0]]), "label": np.array([[-1, 0, 0, -1]])}
    assert columns.tags(["good day again"], table, ["A", "B", "C"], 1) == {"tags": [["B", "C", "?"]]}
    logits = np.log(np.array([[3.0, 0.25, 1.0], [0.5, 0.5, 0.5]]))
    found = columns.several(["a", "b"], {"logits": logits}, ["A", "B", "C"], 1)
    assert found["labels"] == [["A", "C"], []]
    np.testing.assert_allclose(found["probs"][0], [0.75, 0.2, 0.5], rtol=1e-6)


def test_progress_says_what_is_left(capsys):
    times = iter([0.0, 0.0, 1.0, 4.0, 5.0, 15.0, 99.0])
    report = progress.reporter(1000, 100, clock=lambda: next(times))
    for done in (200, 500, 600, 800, 1000):
        report(done)
    assert capsys.readouterr().err.splitlines() == [
        "500 of 1,000 examples, 100.0 a second, 5 s left",
        "800 of 1,000 examples, 46.7 a second, 4 s left",
    ]


def test_parquet_parts_without_a_value_are_joined():
    import pyarrow.parquet

    parts = [{"a": [None, None], "b": [[], ["x"]]}, {"a": [1.5, None], "b": [["y"], []]}]
    encoded = [formats.FORMATS[".parquet"].encode(part, not number) for number, part in enumerate(parts)]
    out = io.BytesIO()
    formats.FORMATS[".parquet"].join([lambda part=part: part for part in encoded], out)
    assert pyarrow.parquet.read_table(out).to_pydict() == {"a": [None, None, 1.5, None], "b": [[], ["x"], ["y"], []]}


def test_arrays_of_several_widths_are_filled_up():
    parts = [
        {"predicted": np.ones((2, 3), np.int32), "class_names": np.array(["a"])},
        {"predicted": np.zeros((1, 5), np.int32)},
    ]
    encoded = [formats.FORMATS[".npz"].encode(part, not number) for number, part in enumerate(parts)]
    out = io.BytesIO()
    formats.FORMATS[".npz"].join([lambda part=part: part for part in encoded], out)
    found = np.load(io.BytesIO(out.getvalue()))
    assert found["predicted"].tolist() == [[1, 1, 1, -1, -1]] * 2 + [[0] * 5]
    assert found["class_names"].tolist() == ["a"]


def test_cells_of_csv_are_quoted_and_vectors_have_columns():
    part = {"text": ['a "b", c', "d\ne"], "labels": [["x", "y"], []], "e": np.float32([[0.1, 2], [np.nan, 3]])}
    text = formats.FORMATS[".csv"].encode(part, True).decode()
    assert text == 'text,labels,e_0,e_1\n"a ""b"", c",x|y,0.1,2.0\n"d\ne",,,3.0\n'
    assert formats.FORMATS[".csv"].encode(part, False).decode() == text.split("\n", 1)[1]


def test_columns_are_chosen_renamed_and_told_apart():
    own, made = {"id": [1], "label": ["c"], "file": ["x/y.tar.png"]}, {"label": ["a"], "probs": np.array([[0.7, 0.3]])}

    def chosen(*names):
        return choosing.chosen(choosing.asked(names), own, made, ["a", "b"])

    assert chosen() == {**own, "predicted_label": ["a"]}
    assert chosen("key=id", "label", "truth=own:label") == {"key": [1], "label": ["a"], "truth": ["c"]}
    assert {name: values.tolist() for name, values in chosen("probs").items()} == {"a": [0.7], "b": [0.3]}
    del own["id"]
    assert chosen("id") == {"id": ["y.tar"]}
    with pytest.raises(InputError, match="two columns are called 'label'"):
        chosen("label", "label=own:label")
    with pytest.raises(InputError, match="unknown column 'probability'; nearest: probs"):
        chosen("probability")
