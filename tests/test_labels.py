"""Labels are of the kind that the task takes; what is missing, mixed or several in a cell is no class in silence."""

import json

import numpy as np
import pytest

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.runs import build, config
from jtransfer.runs.stream import spec_of


def opened(tmp_path, values, task="", suffix="csv", **fields):
    """The source of texts with these labels, as a run with this task opens it."""
    path = tmp_path / f"set.{suffix}"
    if suffix == "csv":
        cells = ('"' + str(value).replace('"', '""') + '"' for value in values)
        path.write_text("text,label\n" + "".join(f"t{i},{cell}\n" for i, cell in enumerate(cells)))
    else:
        path.write_text("".join(json.dumps({"text": f"t{i}", "label": v}) + "\n" for i, v in enumerate(values)))
    spec = config.default().data
    spec.update({"name": f"{suffix}:{path}", **fields})
    return data.open(spec_of(spec, "text", task), "all")


WHOLE = [0.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_whole_numbers_with_a_point_are_what_the_task_takes(tmp_path, suffix):
    classes = opened(tmp_path, WHOLE, "classify", suffix)
    assert (classes.label_kind, classes.class_names, classes.labels.tolist()) == (
        "class",
        ["0", "1", "2"],
        [0, 1, 2, 1],
    )
    assert classes.labels.dtype == np.int32
    numbers = opened(tmp_path, [0, 1, 2, 1], "regress", suffix)
    assert (numbers.label_kind, numbers.labels.tolist()) == ("number", [0, 1, 2, 1])
    guessed = opened(tmp_path, WHOLE, "", suffix)
    assert guessed.label_kind == "number"
    assert "if they are classes, set task='classify'" in guessed.notes[0]
    assert opened(tmp_path, WHOLE, "", suffix, labels="class").label_kind == "class"
    assert opened(tmp_path, WHOLE, "regress", suffix, labels="class").label_kind == "class"


@pytest.mark.parametrize("task", ["", "classify", "regress", "multi_label"])
@pytest.mark.parametrize("word", ["", "  ", "nan", "NaN", "N/A", "None", "null", "NULL", "NA", "<NA>", "#N/A"])
def test_missing_labels_are_counted_refused_or_left_out(tmp_path, word, task):
    values = ["1", word, "0", word, "1"]
    with pytest.raises(
        InputError, match=r"line 3: the label .*: 2 of 5 labels 'label' are missing.*data\.missing='drop'"
    ):
        opened(tmp_path, values, task)
    kept = opened(tmp_path, values, task, missing="drop")
    assert [kept[i]["text"] for i in range(len(kept))] == ["t0", "t2", "t4"]
    assert "2 of 5 rows are left out" in kept.notes[0]
    assert kept.labels.shape[0] == 3


def test_a_missing_word_may_be_a_class(tmp_path):
    values = ["favor", "None", "against", "None"]
    with pytest.raises(InputError, match="or 'keep' if 'None' is the name of a class"):
        opened(tmp_path, values)
    assert opened(tmp_path, values, missing="keep").class_names == ["None", "against", "favor"]
    assert opened(tmp_path, ["favor", "none", "against"]).class_names == ["against", "favor", "none"]
    for empty in (None, float("nan")):
        with pytest.raises(InputError, match=r"line 2: the label .* 1 of 2 labels 'label' are missing"):
            opened(tmp_path, [1, empty], "", "jsonl", missing="keep")


SCORES = [f"{i / 7:.3f}" for i in range(29)]


@pytest.mark.parametrize("task", ["", "classify", "regress"])
@pytest.mark.parametrize("word", ["high", "?", "-", "1,5", "3.5%", "inf", "1.2.3"])
def test_a_stray_word_among_numbers_is_named(tmp_path, word, task):
    with pytest.raises(InputError, match=r"line 12: the label .*of 'label'"):
        opened(tmp_path, [*SCORES[:10], word, *SCORES[10:]], task)


def test_words_among_whole_numbers_are_classes_if_the_task_says_so(tmp_path):
    with pytest.raises(InputError, match=r"line 4: the label 'True' of 'label' is no number.* set task='classify'"):
        opened(tmp_path, ["1", "0", "True"] * 3)
    assert opened(tmp_path, ["1", "0", "True"] * 3, "classify").class_names == ["0", "1", "True"]
    assert opened(tmp_path, ["cat", "dog", "7"]).class_names == ["7", "cat", "dog"]


def test_numbers_may_have_signs_and_blanks(tmp_path):
    assert opened(tmp_path, ["+1.5", " 2.5 ", "-.5"]).labels.tolist() == [1.5, 2.5, -0.5]
    assert opened(tmp_path, ["1", " 2", "0 "]).labels.tolist() == [1, 2, 0]


LISTS = {  # as it stands in a cell → the classes of each row
    "pandas": (["['joy', 'anger']", "['joy']", "[]", "['anger']"], ["anger", "joy"], [[1, 1], [0, 1], [0, 0], [1, 0]]),
    "json": (['["joy", "an\\u0067er"]', '["joy"]'], ["anger", "joy"], [[1, 1], [0, 1]]),
    "numpy of words": (["['joy' 'anger']", "['joy']"], ["anger", "joy"], [[1, 1], [0, 1]]),
    "numpy": (["[0 1 1]", "[1 0 0]", "[0 0 1]"], ["0", "1", "2"], [[0, 1, 1], [1, 0, 0], [0, 0, 1]]),
    "numpy over lines": (["[0 1\n 1]", "[1 0\n 0]"], ["0", "1", "2"], [[0, 1, 1], [1, 0, 0]]),
    "numpy of floats": (["[0. 1. 1.]", "[1. 0. 0.]"], ["0", "1", "2"], [[0, 1, 1], [1, 0, 0]]),
    "of one 1 in two": (["[0 1]", "[1 0]"], ["0", "1"], [[0, 1], [1, 0]]),
    "numbers": (["[2, 0]", "[1]"], ["0", "1", "2"], [[1, 0, 1], [0, 1, 0]]),
    "tuples and sets": (["('joy', 'anger')", "{'joy'}"], ["anger", "joy"], [[1, 1], [0, 1]]),
    "bare words": (["[very good, bad]", "[bad]"], ["bad", "very good"], [[1, 1], [1, 0]]),
    "quotes inside": (["[\"it's\", 'so']", "['so']"], ["it's", "so"], [[1, 1], [0, 1]]),
    "array": (
        ["array(['joy', 'anger'], dtype=object)", "array(['joy'], dtype=object)"],
        ["anger", "joy"],
        [[1, 1], [0, 1]],
    ),
}
MARKED = {
    "|": (["Action|Comedy", "Drama", "Comedy"], ["Action", "Comedy", "Drama"], [[1, 1, 0], [0, 0, 1], [0, 1, 0]]),
    ",": (["2,0", "1", "1, 2"], ["0", "1", "2"], [[1, 0, 1], [0, 1, 0], [0, 1, 1]]),
    ";": (["a; b", "b;", "c"], ["a", "b", "c"], [[1, 1, 0], [0, 1, 0], [0, 0, 1]]),
    "blanks": (["16 0", "0", "1"], [str(i) for i in range(17)], None),
    "answers": (["1;0;1", "0;0;1"], ["0", "1", "2"], [[1, 0, 1], [0, 0, 1]]),
    "whole numbers with a point": (["1.0|2.0", "1.0", "0.0"], ["0", "1", "2"], [[0, 1, 1], [0, 1, 0], [1, 0, 0]]),
    "line breaks": (["a\nb", "b"], ["a", "b"], [[1, 1], [0, 1]]),
    "commas and blanks": (["very good, bad", "bad"], ["bad", "very good"], [[1, 1], [1, 0]]),
}


@pytest.mark.parametrize("task", ["", "multi_label"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_written_as_text_are_several_labels(tmp_path, name, task):
    cells, names, labels = LISTS[name]
    source = opened(tmp_path, cells, task)
    assert (source.label_kind, source.class_names, source.labels.tolist()) == ("classes", names, labels)
    assert "lists written as text" in source.notes[0]


@pytest.mark.parametrize("name", MARKED)
def test_marks_divide_labels_if_the_task_takes_several(tmp_path, name):
    cells, names, labels = MARKED[name]
    source = opened(tmp_path, cells, "multi_label")
    assert (source.label_kind, source.class_names) == ("classes", names)
    assert labels is None or source.labels.tolist() == labels
    with pytest.raises(InputError, match=r"line 2: .* several labels in one cell; set task='multi_label'"):
        opened(tmp_path, cells)
    if name == "whole numbers with a point":
        return
    whole = opened(tmp_path, cells, "classify")
    assert whole.class_names == sorted(set(cells))
    assert any("if they are several labels, set task='multi_label'" in note for note in whole.notes)


def test_blanks_in_names_divide_nothing(tmp_path):
    source = opened(tmp_path, ["New York", "Boston", "New Jersey"], "multi_label")
    assert source.class_names == ["Boston", "New Jersey", "New York"]
    assert opened(tmp_path, ["Clothing, Shoes", "Toys, Games", "Food"]).class_names[0] == "Clothing, Shoes"
    assert opened(tmp_path, ["very good", "good", "very bad"]).label_kind == "class"


def test_lists_of_one_class_are_that_class(tmp_path):
    for suffix, values in (("csv", ["[0 0 1]", "[1 0 0]"]), ("jsonl", [[0, 0, 1], [1, 0, 0]])):
        assert opened(tmp_path, values, "classify", suffix).labels.tolist() == [2, 0]
    assert opened(tmp_path, ["['b']", "['a']"], "classify").labels.tolist() == [1, 0]
    assert opened(tmp_path, [[1.5], [2]], "regress", "jsonl").labels.tolist() == [1.5, 2]
    with pytest.raises(
        InputError, match=r"line 3: the label \['a', 'b'\] has 2 classes, and task='classify' needs one"
    ):
        opened(tmp_path, ["['b']", "['a', 'b']"], "classify")
    with pytest.raises(InputError, match=r"line 2: the label \[2, 3\] .* is a list, and no number"):
        opened(tmp_path, [[1.5], [2, 3]], "regress", "jsonl")


@pytest.mark.parametrize("cell", ["[0 1 ... 1]", "[[1, 2]", "['a', 'b'", "['a' 'b", "{'a': 1}"])
def test_damaged_lists_are_named(tmp_path, cell):
    with pytest.raises(InputError, match=r"line 4: the label"):
        opened(tmp_path, ["['a']", "['b']", cell], "multi_label")


def test_several_columns_are_one_class_if_the_task_takes_one(tmp_path):
    (tmp_path / "set.csv").write_text("text,healthy,rust\na,1,0\nb,0,1\nc,,1\n")
    spec = config.default().data
    spec.update({"name": f"csv:{tmp_path}/set.csv", "label_key": "healthy,rust", "missing": "drop"})
    source = data.open(spec_of(spec, "", "classify"), "all")
    assert (source.label_kind, source.class_names, source.labels.tolist()) == ("class", ["healthy", "rust"], [0, 1])
    (tmp_path / "set.csv").write_text("text,healthy,rust\na,1,0\nb,1,1\n")
    with pytest.raises(InputError, match="line 3: has 2 classes, but task='classify' needs one"):
        data.open(spec_of(spec, "", "classify"), "all")


def test_odd_classes_are_told(tmp_path):
    source = opened(tmp_path, ["Positive", "positive", " positive", "negative", "negative"])
    assert any("3 of 4 classes have one example only" in note for note in source.notes)
    assert any("1 of 4 classes have no example: 0" in note for note in opened(tmp_path, [1, 2, 3, 3, 2, 1]).notes)


def test_what_is_guessed_is_printed_and_refused_before_the_folder_is_made(tmp_path, capsys):
    settings = config.default()
    np.savez(tmp_path / "set.npz", x=np.eye(4, dtype=np.float32), y=np.float32([0, 1, 0, 1]))
    settings.data.update({"name": f"npz:{tmp_path}/set.npz", "train": "all", "test": "all"})
    settings.model.name = "mlp"
    build.prepare(settings, tmp_path / "run")
    assert "if they are classes, set task='classify'" in capsys.readouterr().out
    settings.task = "classify"
    assert build.prepare(settings, tmp_path / "run").target.class_names == ["0", "1"]
    assert "taken as" not in capsys.readouterr().out
    for field, value, says in (
        ("labels", "number", "task='classify' needs labels of the kind 'class'; these are 'number'"),
        ("labels", "klass", "unknown data.labels 'klass'; nearest: class"),
        ("missing", "no", "unknown data.missing 'no'"),
    ):
        wrong = settings.copy_and_resolve_references()
        wrong.data[field] = value
        with pytest.raises(InputError, match=says):
            build.prepare(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
