"""Predictions from files to files: what is read, which columns are written, in parts, and as lines come."""

import csv
import io
import json
import queue
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet
import pytest
from jax.sharding import PartitionSpec
from test_predict import CLASSES, IMAGES, MEAN, STD, compilations, run  # noqa: F401

from jtransfer import generate, predict
from jtransfer.core import sharding
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.predicting import parts, waiting
from jtransfer.runs import predicted

EARLIER = Path(__file__).parent / "references" / "earlier"
TEXTS = {"id": ["a", "b", "c"], "text": ["the day good", "the night, bad", "very fine"], "label": ["good", "bad", ""]}


@pytest.fixture(scope="module")
def predictor(run):  # noqa: F811
    return predict.load(run[0])


@pytest.fixture
def photos(run, tmp_path):  # noqa: F811
    """A folder of the images of a run, every other one in a folder of its own, and their order."""
    for i, path in enumerate(run[1]):
        to = tmp_path / "photos" / ("more" if i % 2 else "") / f"{i:02d}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return tmp_path / "photos", [*range(0, IMAGES, 2), *range(1, IMAGES, 2)]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def best(probs):
    return [CLASSES[i] for i in probs.argmax(1)]


def table_of(file):
    """Column → values of a file of any format."""
    if file.suffix == ".csv":
        header, *rows = csv.reader(io.StringIO(file.read_text()))
        return dict(zip(header, zip(*rows, strict=True), strict=True))
    if file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        return {name: tuple(row[name] for row in rows) for name in rows[0]}
    return {name: tuple(values) for name, values in pyarrow.parquet.read_table(file).to_pydict().items()}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_folder_becomes_a_table(suffix, predictor, run, photos, tmp_path):  # noqa: F811
    folder, order = photos
    file, expected = tmp_path / f"found{suffix}", run[2][order]
    assert predictor.save(file, folder, top_k=2, batch_size=8) == IMAGES
    found = table_of(file)
    assert list(found) == ["file", "label", "probability", "label_2", "probability_2"]
    assert found["file"] == tuple(f"{folder}/{'more/' if i % 2 else ''}{i:02d}.png" for i in order)
    assert found["label"] == tuple(best(expected))
    for k, name in enumerate(("probability", "probability_2"), 1):
        np.testing.assert_allclose(np.float64(found[name]), np.sort(expected)[:, -k], rtol=1e-4)


def test_arrays_have_all_there_is(predictor, run, photos, tmp_path):  # noqa: F811
    folder, order = photos
    predictor.save(tmp_path / "found.npz", folder, features="Dense_0")
    found = np.load(tmp_path / "found.npz")
    assert set(found) == {"given", "class_names", "probs", "features"}
    assert found["class_names"].tolist() == CLASSES
    np.testing.assert_allclose(found["probs"], run[2][order], rtol=1e-4, atol=1e-6)
    assert found["features"].dtype == np.float32
    np.testing.assert_allclose(softmax(found["features"]), run[2][order], rtol=1e-4, atol=1e-6)


def test_a_submission_is_one_command(run, photos, tmp_path):  # noqa: F811
    file = tmp_path / "submission.csv"
    argv = [f"--workdir={run[0]}", str(photos[0]), f"--save={file}", "--columns=image_id=id,label"]
    run_command(predict.main, ["predict", *argv])
    header, *rows = file.read_text().splitlines()
    assert header == "image_id,label"
    assert rows == [f"{i:02d},{label}" for i, label in zip(photos[1], best(run[2][photos[1]]), strict=True)]


def test_rows_of_a_table_keep_their_columns(predictor, run, photos, tmp_path, capsys):  # noqa: F811
    rows = ["patient,image,label", "7,00.png,Bag", "8,more/01,Coat", '"9, b",02.png,']
    (photos[0] / "test.csv").write_text("\n".join(rows) + "\n")
    found = list(predictor.rows(photos[0] / "test.csv"))
    assert [list(row) for row in found] == [["patient", "image", "label", "predicted_label", "probability"]] * 3
    assert [row["patient"] for row in found] == ["7", "8", "9, b"]
    assert [row["label"] for row in found] == ["Bag", "Coat", ""]
    assert [row["predicted_label"] for row in found] == best(run[2][:3])
    assert "'label' is the input's own column; what is predicted is 'predicted_label'" in capsys.readouterr().err
    chosen = list(predictor.rows(photos[0] / "test.csv", columns=["patient", "label", "truth=own:label", "probs"]))
    assert list(chosen[0]) == ["patient", "label", "truth", *CLASSES]
    assert [row["label"] for row in chosen] == best(run[2][:3])
    assert [row["truth"] for row in chosen] == ["Bag", "Coat", ""]
    np.testing.assert_allclose([list(row.values())[3:] for row in chosen], run[2][:3], rtol=1e-4, atol=1e-6)


def test_images_may_lie_in_the_cells_of_a_table(predictor, run, tmp_path):  # noqa: F811
    cells = [{"bytes": Path(path).read_bytes(), "path": None} for path in run[1][:3]]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells, "n": [1, 2, 3]}), tmp_path / "test.parquet")
    rows = list(predictor.rows(tmp_path / "test.parquet", columns=["n", "label"]))
    assert rows == [{"n": i + 1, "label": label} for i, label in enumerate(best(run[2][:3]))]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".npz"])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_what_was_killed_goes_on_to_the_same_bytes(suffix, at, predictor, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(predicted, "PART", 8)
    whole, file, how = tmp_path / f"whole{suffix}", tmp_path / f"found{suffix}", {"batch_size": 8, "broken": "skip"}
    how |= {} if suffix == ".npz" else {"columns": ["id", "label", "probs", "error"]}
    (photos[0] / "18.png").write_bytes(b"no image")
    predictor.save(whole, photos[0], **how)
    write, end, written = parts.write, parts.end, []

    def killed(some, number=-1, content=b""):
        if number in (-1, at):
            raise KeyboardInterrupt
        write(some, number, content)

    monkeypatch.setattr(parts, "write", killed)
    monkeypatch.setattr(parts, "end", killed)
    with pytest.raises(KeyboardInterrupt):
        predictor.save(file, photos[0], **how)
    assert not file.exists()
    monkeypatch.setattr(parts, "write", lambda *args: (written.append(args[1]), write(*args)))
    monkeypatch.setattr(parts, "end", end)
    if at:
        with pytest.raises(InputError, match=r"parts of another command \(another features\)"):
            predictor.save(file, photos[0], **how, features="Dense_0")
    predictor.save(file, photos[0], **how)
    assert written == list(range(at, 3))
    assert file.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("found*")) == [file.name, f"{file.name}.json"]


def test_a_file_that_is_there_is_not_written_over(run, photos, tmp_path, capsys):  # noqa: F811
    file = tmp_path / "found.csv"
    command = ["predict", f"--workdir={run[0]}", str(photos[0]), f"--save={file}"]
    run_command(predict.main, command)
    before = file.read_bytes()
    run_command(predict.main, command)
    assert "is there already, of this command" in capsys.readouterr().err
    file.with_name("other.csv").write_text("mine")
    for argv, says in (
        ([*command, "--top_k=3"], "not of this command (another top_k)"),
        ([*command[:3], f"--save={tmp_path}/other.csv"], "not of this command (nothing says what it is made of)"),
        ([*command[:3], f"--save={tmp_path}/none/found.csv"], "there is no folder"),
    ):
        with pytest.raises(SystemExit) as exit:
            run_command(predict.main, argv)
        assert exit.value.code == 2
        assert says in capsys.readouterr().err
    assert file.read_bytes() == before
    assert file.with_name("other.csv").read_text() == "mine"


def test_one_program_is_compiled_for_any_number_of_parts(run, photos):  # noqa: F811
    predictor = predict.load(run[0])
    for _ in predictor.rows(run[1][0], batch_size=8):
        pass
    with compilations() as compiled:
        assert len(list(predictor.rows(photos[0], batch_size=8))) == IMAGES
    assert compiled == []


@pytest.mark.parametrize("file", ["00.png", "more/17.png"])
def test_broken_images_have_a_row_that_says_so(file, predictor, run, photos):  # noqa: F811
    folder, order = photos
    (folder / file).write_bytes((folder / "02.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"cannot read the image .*; --broken=skip goes on"):
        list(predictor.rows(folder, batch_size=8))
    rows = list(predictor.rows(folder, batch_size=8, broken="skip"))
    number = int(Path(file).stem)
    for row, i in zip(rows, order, strict=True):
        assert row["label"] == (None if i == number else best(run[2])[i])
        assert (row["probability"] is None) == (i == number)
        assert ("cannot read the image" in (row["error"] or "")) == (i == number)


def test_lines_are_answered_as_they_come(predictor, run):  # noqa: F811
    come = queue.Queue()
    answers = predictor.stream(iter(come.get, None))
    for i in (0, 3):
        come.put(f"{run[1][i]}\n")
        assert next(answers)["label"] == best(run[2])[i]
    come.put("nowhere.png\n")
    with pytest.raises(InputError, match=r"nowhere\.png"):
        next(answers)
    come = iter([run[1][1], "nowhere.png", ""])
    good, bad = predictor.stream(come, broken="skip")
    assert (good["label"], good["error"]) == (best(run[2])[1], None)
    assert "nowhere.png" in bad["error"]


def test_lines_that_wait_are_taken_together():
    assert [line for some in waiting.batches(map(str, range(50)), 7) for line in some] == list(map(str, range(50)))
    assert all(0 < len(some) <= 7 for some in waiting.batches(["a\n", "\n", "b"] * 20, 7))


def test_standard_input_and_output(run, monkeypatch, capsysbinary):  # noqa: F811
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{run[1][0]}\n{run[1][1]}\n"))
    run_command(predict.main, ["predict", f"--workdir={run[0]}", "-", "--save=-.csv", "--columns=id,label"])
    written = capsysbinary.readouterr().out.decode().splitlines()
    assert [line for line in written if line != "id,label"] == [f"{i},{best(run[2])[i]}" for i in (0, 1)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_texts_are_read_from_tables(suffix, tmp_path):
    file, values = tmp_path / f"texts{suffix}", list(zip(*TEXTS.values(), strict=True))
    rows = [dict(zip(TEXTS, row, strict=True)) for row in values]
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(TEXTS), file)
    elif suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with file.open("w") as opened:
            csv.writer(opened, delimiter="," if suffix == ".csv" else "\t").writerows([list(TEXTS), *values])
    predictor = predict.load(EARLIER / "texts")
    probs = predictor(TEXTS["text"])["probs"]
    found = list(predictor.rows(file))
    assert [(row["id"], row["text"], row["label"]) for row in found] == values
    np.testing.assert_allclose([row["probability"] for row in found], probs.max(1), rtol=1e-5)
    given = list(predictor.rows(*rows, columns=["id", "label"]))
    assert [row["label"] for row in given] == [predictor.class_names[i] for i in probs.argmax(1)]


def test_what_a_text_generates_is_a_column(tmp_path):
    predictor = predict.load(EARLIER / "translations")
    (tmp_path / "lines.txt").write_text("the good\n\nthe bad\n")
    predictor.save(tmp_path / "found.jsonl", tmp_path / "lines.txt")
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["text", "written"]] * 2
    assert [row["written"] for row in rows] == predictor(["the good", "the bad"])["written"].tolist()


def test_all_devices_share_the_texts_and_write_what_one_writes():
    predictor = predict.load(EARLIER / "translations")
    texts = ["the good", "the bad", "good good", "bad", "the", "bad bad good", "good", "the good the bad", "good bad"]
    of, variables = predictor.run, predictor.run.variables()
    how = of.modality.writing(of.task, of.model, of.config.generate.fields.to_dict())
    made = generate.generate(of.model, variables, how.inputs(texts), how.settings)
    expected = how.decoded(np.asarray(made.tokens), np.asarray(made.lengths))
    assert predictor(texts)["written"].tolist() == list(expected)
    mesh = sharding.make_mesh({sharding.DATA: -1}, jax.local_devices())
    everywhere = jax.device_put(variables, jax.sharding.NamedSharding(mesh, PartitionSpec()))
    shared = generate.generate(of.model, everywhere, how.inputs(texts[:8]), how.settings, mesh=mesh)
    assert len({shard.device for shard in shared.tokens.addressable_shards}) == 8
    assert {shard.data.shape[0] for shard in shared.tokens.addressable_shards} == {1}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nowhere"], "nowhere: there is no such image"),
        (["nowhere.csv"], "nowhere.csv: there is no such file"),
        (["*.gif"], "no file matches"),
        (["."], "the folder holds no image and no table"),
        (["x.csv"], "which column has the paths of images"),
        (["gone.csv"], "there is no image 'gone.png'"),
        (["1.png", "--save=x.txt"], "ends in .csv, .jsonl, .parquet, .npz"),
        (["1.png", "--save=x.csv2"], "ends in .csv"),
        (["1.png", "--columns=id"], "give --save=FILE"),
        (["1.png", "--top_k=2"], "give --save=FILE"),
        (["1.png", "--save=y.csv", "--top_k=0"], "must be numbers from 1 on"),
        (["1.png", "--save=y.csv", "--columns=id,lable"], "unknown column 'lable'; nearest: label"),
        (["1.png", "--save=y.csv", "--columns=label,label"], "two columns are called 'label'"),
        (["1.png", "--save=y.npz", "--columns=label"], "arrays hold all there is"),
        (["1.png", "--broken=ignore"], "unknown --broken 'ignore'; nearest: skip, stop"),
        (["1.png", "--tta=flip"], "unknown view of images 'flip'; nearest: flip_"),
        (["1.png", "--tta=five_crop"], "has no center_crop"),
        (["1.png", "--tta=five_crop|random(2)"], "no center_crop"),
        (["1.png", "-"], "must be given alone"),
        (["1.png", "--data=embedded:fashion_mnist"], "give either --data=embedded:fashion_mnist or examples"),
        (["1.png", "--data.image_dri=x"], "unknown"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(argv, says, run, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    if argv[0] in ("x.csv", "gone.csv", "1.png"):
        shutil.copy(run[1][0], "1.png")
        Path("x.csv").write_text("a,b\n1,2\n")
        Path("gone.csv").write_text("image,b\ngone.png,2\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as exit:
        run_command(predict.main, ["predict", f"--workdir={run[0]}", *argv])
    assert exit.value.code == 2
    err = capsys.readouterr().err
    assert says in err, err
    assert sorted(tmp_path.iterdir()) == before
