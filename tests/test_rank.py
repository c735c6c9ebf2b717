"""Sources that are ranked: their scores are those of what they make of the examples, and what is wrong is one line."""

import json

import numpy as np
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import extract, rank, selection, train
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.ranking import check, marks, named, table
from jtransfer.ranking.features import Made
from jtransfer.ranking.table import Cell

CLASSES = ("cat", "dog", "newt")
SCORES = tuple(selection.SCORES)


def vectors(folder, name, seed, labels=None, names=CLASSES):
    """An .npz file of 48 vectors of three classes."""
    rng, labels = np.random.default_rng(seed), np.arange(48) % 3 if labels is None else labels
    x = (rng.normal(size=(3, 6))[np.arange(48) % 3] * 2 + rng.normal(size=(48, 6))).astype(np.float32)
    arrays = {"x_train": x[:32], "y_train": labels[:32], "x_test": x[32:], "y_test": labels[32:]}
    np.savez(folder / f"{name}.npz", **arrays, **({"class_names": np.array(names)} if names else {}))
    return f"npz:{folder}/{name}.npz"


def config_of(folder, data):
    config = tiny_vectors.config_of(folder, steps=4)
    config.data.name = data
    config.teacher_cache = str(folder / "cache")
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on the target's own examples, one on others of the same classes, and the config of the target."""
    folder = tmp_path_factory.mktemp("ranked")
    target = vectors(folder, "target", 0)
    other = vectors(folder, "other", 1, names=("Dog", "bird", "a_newt"))
    train.run(config_of(folder, target), folder / "same")
    config = config_of(folder, other)
    config.model.fields.widths = (5,)
    train.run(config, folder / "other")
    rows = [f"config.data.name = {target!r}", f"config.teacher_cache = {str(folder / 'cache')!r}"]
    (folder / "config.py").write_text(
        "from pathlib import Path\nimport sys\n"
        f"sys.path.insert(0, {str(__file__).rsplit('/', 1)[0]!r})\nimport tiny_vectors\n\n\ndef get_config():\n"
        f"    config = tiny_vectors.config_of(Path({str(folder)!r}), steps=4)\n    "
        + "\n    ".join(rows)
        + "\n    return config\n"
    )
    return folder


@pytest.fixture(scope="module")
def ranking(folder):
    config = config_of(folder, f"npz:{folder}/target.npz")
    sources = [str(folder / "same"), str(folder / "other"), "scratch"]
    return rank.rank(config, sources, to=folder / "ranked", check=2)


def test_scores_are_those_of_the_features(folder, ranking):
    tables = extract.extract(folder / "same", splits=["train"])
    labels = np.load(folder / "target.npz")["y_train"]
    cells, features = ranking.scores[str(folder / "same")], tables["train"].features
    for name, score in (
        ("h_score", selection.h_score),
        ("h_score_lw", selection.regularized_h_score),
        ("logme", selection.logme),
        ("transrate", selection.transrate),
        ("knn", selection.knn_accuracy),
        ("linear_probe", selection.linear_probe_accuracy),
    ):
        assert cells[name].value == pytest.approx(score(features, labels), rel=1e-4), name
        assert cells[name].low < cells[name].high
    assert ranking.made[str(folder / "same")].features.shape == (32, 8)
    assert ranking.made[str(folder / "other")].features.shape == (32, 5)  # a source is of the model that it says


def test_predictions_are_those_of_the_source(folder, ranking):
    """A run on the same data predicts what it does as a run."""
    probs = ranking.made[str(folder / "same")].probs
    logits = extract.extract(folder / "same", splits=["train"], stage="head")["train"].features
    exps = np.exp(np.float64(logits))
    np.testing.assert_allclose(probs, exps / exps.sum(1, keepdims=True), rtol=1e-4)
    labels = np.load(folder / "target.npz")["y_train"]
    cells = ranking.scores[str(folder / "same")]
    assert cells["leep"].value == pytest.approx(selection.leep(probs, labels))
    assert cells["nce"].value == pytest.approx(selection.nce(probs.argmax(1), labels))
    assert ranking.scores["scratch"]["leep"] is None
    assert "learned nothing" in ranking.made["scratch"].why


def test_the_order_is_that_of_the_mean_rank(ranking):
    common = [name for name in SCORES if all(row[name] for row in ranking.scores.values())]
    assert set(common) == set(SCORES) - {"leep", "nce"}
    for source, mean in ranking.order.items():
        assert mean == pytest.approx(np.mean([ranking.scores[source][name].rank for name in common]))
    assert list(ranking.order.values()) == sorted(ranking.order.values())
    for name in common:
        values = {source: row[name].value for source, row in ranking.scores.items()}
        assert all(ranking.scores[s][name].rank == 1 + sum(v > values[s] for v in values.values()) for s in values)


def test_what_was_learned_already_is_told(folder, ranking):
    same, other = ranking.marks[str(folder / "same")], ranking.marks[str(folder / "other")]
    assert same.classes == list(CLASSES)
    assert same.common == {"training": 32, "test": 0}
    assert "32 of 32 training examples and 0 of 16 test examples are also among the 32 of npz:" in same.lines[1]
    assert other.classes == ["dog"]
    assert other.common == {"training": 0, "test": 0}
    assert ranking.marks["scratch"].lines == []


def test_the_best_are_fine_tuned_and_compared(folder, ranking):
    best = list(ranking.order)[:2]
    assert list(ranking.checked.results) == best
    for source in best:
        run = check.folder_of(folder / "ranked", source)
        stored = json.loads((run / "config.json").read_text())
        assert stored["init"] == source
        last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        tested = [line["accuracy"] for line in last if line.get("split") == "test"]
        assert ranking.checked.results[source] == pytest.approx(tested[-1])


def test_the_folder_has_the_table_and_a_page(folder, ranking):
    told = json.loads((folder / "ranked" / "rank.json").read_text())
    assert list(told["sources"]) == list(ranking.order)
    assert told["sources"]["scratch"]["scores"]["logme"]["value"] == ranking.scores["scratch"]["logme"].value
    assert told["check"]["metric"] == "accuracy"
    page = (folder / "ranked" / "report.html").read_text()
    assert "No single score wins" in page
    assert "are also among the 32" in page
    assert all(name in page for name in SCORES)


def test_features_are_computed_once(folder, ranking, monkeypatch):
    """A second ranking, of other scores, reads them from where they are kept."""
    from jtransfer.runs import extraction

    def fail(*args, **kwargs):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(extraction, "extract", fail)
    config = config_of(folder, f"npz:{folder}/target.npz")
    again = rank.rank(config, [str(folder / "same"), "scratch"], scores=["logme", f"{__file__}:own"])
    assert again.scores["scratch"]["logme"].value == ranking.scores["scratch"]["logme"].value
    assert again.scores["scratch"][f"{__file__}:own"].value == 42


def own(features, labels):
    """A score of the user's."""
    return np.full(len(labels), 42)


def test_the_command(folder, ranking, capsys):
    names = f"{folder}/same,scratch"
    rank.main(["rank", f"--config={folder}/config.py", f"--sources={names}", "--scores=knn,linear_probe"])
    out = capsys.readouterr().out
    assert "mean rank" in out
    assert "no other split is looked at" in out
    assert "it was trained on 3 of the target's classes: cat, dog, newt" in out


def test_fewer_examples_are_drawn_by_class(folder):
    config = config_of(folder, f"npz:{folder}/target.npz")
    found = rank.rank(config, "scratch", scores=["logme"], examples=9)
    labels = np.load(folder / "target.npz")["y_train"]
    assert found.made["scratch"].features.shape == (9, 8)
    assert "9 of 32 training examples" in found.protocol
    whole = rank.rank(config, "scratch", scores=["logme"], examples=0)
    rows = [
        i for i, x in enumerate(whole.made["scratch"].features) if (found.made["scratch"].features == x).all(1).any()
    ]
    assert np.bincount(labels[rows]).tolist() == [3, 3, 3]


def test_sources_are_written_with_what_they_do_not_say():
    found = named.parse_all(
        "scratch, a.pth|model=mlp|widths=(4, 8)|stage=hidden1,hf://a/b@c:d|target={'name': 'mlp', 'x': 1}"
    )
    assert [one.init for one in found] == ["scratch", "a.pth", "hf://a/b@c:d"]
    assert found[1][2:] == ("mlp", {"widths": (4, 8)}, "hidden1")
    assert found[2].fields == {"target": {"name": "mlp", "x": 1}}


def test_the_fields_of_the_config_are_of_its_own_model(folder):
    config = configs.complete(config_of(folder, f"npz:{folder}/target.npz"))
    same = named.config_of(config, named.parse("scratch|widths=(3,)"))
    assert same.model.fields.widths == (3,)
    assert named.config_of(config, named.parse("scratch")).model.fields.widths == (8, 8)
    assert named.config_of(config, named.parse("x|model=resnet18")).model.fields.to_dict() == {}
    assert named.config_of(config, named.parse(f"{folder}/other")).model.fields.to_dict() == {}


def test_a_stage_is_looked_at(folder, ranking):
    config = config_of(folder, f"npz:{folder}/target.npz")
    found = rank.rank(config, f"{folder}/same|stage=hidden1", scores=["knn"])
    (made,) = found.made.values()
    wanted = extract.extract(folder / "same", splits=["train"], stage="hidden1")["train"].features
    np.testing.assert_allclose(made.features, wanted, rtol=1e-5, atol=1e-6)
    assert made.parameters == 6 * 8 + 8
    assert "its head is not given this stage" in made.why


def test_what_the_data_take_from_the_configs_own_init_is_taken_from_the_source(folder):
    """As a tokenizer."""
    config = config_of(folder, f"npz:{folder}/target.npz")
    config.init = config.data.dir = str(folder / "same")
    full = configs.complete(config)
    assert named.config_of(full, named.parse(f"{folder}/other")).data.dir == ""
    assert named.config_of(full, named.parse("scratch")).data.dir == config.init


def test_the_same_call_goes_on(folder, ranking):
    config = config_of(folder, f"npz:{folder}/target.npz")
    page = (folder / "ranked" / "rank.json").read_text()
    sources = [str(folder / "same"), str(folder / "other"), "scratch"]
    again = rank.rank(config, sources, to=folder / "ranked", check=2)
    assert again.checked == ranking.checked
    assert (folder / "ranked" / "rank.json").read_text() == page


def test_names_of_classes_are_compared_by_words():
    imagenet = ["tench, Tinca tinca", "tabby, tabby cat", "T-shirt"]
    assert marks.same_names(["tabby_cat", "TENCH", "fox", "t shirt"], imagenet) == ["tabby_cat", "TENCH", "t shirt"]
    assert marks.same_names(["0", "1"], ["0", "1"]) is None
    assert marks.same_names(["LABEL_0", "LABEL_1"], ["a", "b"]) is None
    assert marks.same_names(["a"], []) is None


def test_tau_is_weighted_and_leaves_out_what_has_no_score():
    cells = {name: {"s": None if v is None else Cell(v, 0, 0)} for name, v in zip("abcd", (4, 3, None, 1), strict=True)}
    good = {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.2}
    assert check.tau(cells, good, "s") == pytest.approx(1)
    assert check.tau(cells, {name: -value for name, value in good.items()}, "s") == pytest.approx(-1)
    assert check.tau(cells, {"a": 0.1, "c": 0.2}, "s") is None
    assert (
        -1
        < check.tau(cells, {"a": 0.8, "b": 0.9, "d": 0.2}, "s")
        < check.tau(cells, {"a": 0.9, "b": 0.2, "d": 0.8}, "s")
    )


def test_intervals_hold_the_score_although_draws_have_examples_twice():
    rng = np.random.default_rng(0)
    made = {"wide": rng.normal(size=(40, 200)).astype(np.float32)}
    labels = np.arange(40) % 2
    found = table.of(
        {name: Made(x, None, "", [], "", 0, 0, 0.0) for name, x in made.items()}, labels, ["logme", "transrate"]
    )
    for cell in found["wide"].values():
        assert cell.low < cell.value < cell.high


WRONG = {
    "give sources": {"sources": " , "},
    "'?scratch'? is named twice": {"sources": "scratch,scratch"},
    r"write INIT\|model=NAME": {"sources": "scratch|deep"},
    "source nowhere: .*nowhere": {"sources": "scratch,nowhere"},
    "source scratch.model=resnet18: .* takes image, and these are vectors": {"sources": "scratch|model=resnet18"},
    "source scratch.stage=hidden9: unknown stage": {"sources": "scratch|stage=hidden9"},
    "source scratch.depth=3: ": {"sources": "scratch|depth=3"},
    "unknown score 'leap'": {"scores": ["leap"]},
    "score 'knn' is named twice": {"scores": ["knn", "knn"]},
    "no score is one of all sources": {"scores": ["leep"]},
    "--check=3: give how many of the 1 sources": {"check": 3, "to": "x"},
    "source scratch.stage=hidden1: a run begins with a whole": {"sources": "scratch,scratch|stage=hidden1", "check": 2},
    "give a folder for its runs": {"sources": "scratch,scratch|widths=(4,)", "check": 2},
    "holds another ranking": {"to": "ranked"},
    "give a local folder": {"to": "gs://bucket/rank"},
    "same exists and is not empty": {"to": "same"},
    "config.py exists and is not empty": {"to": "config.py"},
    "all 32 examples are of one class": {"data": "one"},
    "class 'newt' has one example": {"data": "few"},
    "of the kind 'number'": {"data": "numbers", "scores": ["gbc"]},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(folder, ranking, tmp_path, said):
    given = {"sources": "scratch", **WRONG[said]}
    labels = {"one": np.zeros(48, int), "few": np.append(2, np.arange(47) % 2), "numbers": np.linspace(0, 1, 48)}
    data = given.pop("data", "target")
    name = (
        vectors(tmp_path, data, 0, labels[data], CLASSES * (data != "numbers"))
        if data in labels
        else f"npz:{folder}/target.npz"
    )
    config = config_of(tmp_path, name)
    before = sorted(folder.rglob("*"))
    if "://" not in given.get("to", "://"):
        given["to"] = folder / given["to"]
    with pytest.raises(InputError, match=said) as caught:
        rank.rank(config, given.pop("sources"), **given)
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


def test_features_that_are_not_finite_name_the_source(folder, tmp_path):
    from jtransfer import runs, weights

    stored = runs.open(folder / "same")
    held = stored.variables()
    held["params"]["hidden1"]["dense"]["kernel"] = held["params"]["hidden1"]["dense"]["kernel"] * np.nan
    file = weights.save(held, stored.model, tmp_path / "broken.safetensors")
    config = config_of(tmp_path, f"npz:{folder}/target.npz")
    with pytest.raises(InputError, match=r"source .*broken.safetensors: the features of example 0 and 31 others"):
        rank.rank(config, ["scratch", str(file)])


def test_numbers_are_ranked_by_the_scores_that_take_them(tmp_path):
    name = vectors(tmp_path, "numbers", 0, np.linspace(0, 1, 48), ())
    found = rank.rank(config_of(tmp_path, name), ["scratch", "scratch|widths=(4,)"])
    assert list(found.scores["scratch"]) == ["logme", "linear_probe"]


def test_a_mistake_ends_with_exit_code_2(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(rank.main, ["rank", f"--config={folder}/config.py"])
    assert caught.value.code == 2
    assert "give a config and sources" in capsys.readouterr().err
