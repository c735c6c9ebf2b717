"""By what a run's model is chosen where labels of the target are not learned from, and what results say of it."""

import itertools
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_shifted
from sklearn.linear_model import LogisticRegression

from jtransfer import config as configs
from jtransfer import runs, train
from jtransfer.core.errors import InputError
from jtransfer.runs import build, log, protocol


def trained(folder, **fields):
    config = tiny_shifted.config_of(folder, **fields)
    train.run(config, folder / "run")
    return folder / "run"


def lines_of(run, split):
    return [line for line in log.read(run) if line.get("split") == split]


def by_hand(run, step, domain, part):
    """(features, probabilities, labels) of the network of two layers, with NumPy."""
    arrays = np.load(run.parent / f"{domain}.npz")
    x, y = arrays["x_train"][part], arrays["y_train"][part]
    params = runs.open(run).variables(step)["params"]
    for name in ("hidden1", "hidden2"):
        x = np.maximum(x @ params[name]["dense"]["kernel"] + params[name]["dense"]["bias"], 0)
    logits = x @ params["head"]["dense"]["kernel"] + params["head"]["dense"]["bias"]
    probs = np.exp(logits - logits.max(1, keepdims=True))
    return x, probs / probs.sum(1, keepdims=True), y


TRAIN, HELD = slice(0, 48), slice(48, 64)


@pytest.fixture(scope="module")
def by_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    scores = ["entropy", "infomax", "bnm", "iwv", "dev"]
    evals = [
        configs.evaluation("label_free", "validation", scores=scores),
        configs.evaluation("split", "test"),
    ]
    return trained(folder, evals=evals)


def test_the_source_decides_where_labels_of_the_target_are_not_learned_from(by_source):
    found = {line["step"]: line["source/accuracy"] for line in lines_of(by_source, "selection")}
    assert sorted(found) == [2, 4, 6]
    for step, accuracy in found.items():
        _, probs, labels = by_hand(by_source, step, "source", HELD)
        assert accuracy == pytest.approx((probs.argmax(1) == labels).mean())
    best = next(line for line in log.read(by_source) if line.get("event") == "best")
    assert best["best_step"] == max(step for step in found if found[step] == max(found.values()))
    assert (best["metric"], best["protocol"]) == ("source/accuracy", "source")
    tested = lines_of(by_source, "test")
    assert [line["protocol"] for line in tested] == ["source"]
    assert protocol.told_of(log.read(by_source)) == "the best by the validation splits of the labelled streams"


def test_scores_are_those_of_the_models_predictions_and_features(by_source):
    line = lines_of(by_source, "validation")[-1]
    _, probs, _ = by_hand(by_source, "last", "target", HELD)
    entropy = -(probs * np.log(probs)).sum(1).mean()
    mean = probs.mean(0)
    assert line["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert line["infomax"] == pytest.approx(-(mean * np.log(mean)).sum() - entropy, rel=1e-3, abs=1e-6)
    assert line["bnm"] == pytest.approx(np.linalg.norm(probs, "nuc") / len(probs), rel=1e-5)
    known, aimed = (by_hand(by_source, "last", domain, TRAIN)[0] for domain in ("source", "target"))
    features, probs, labels = by_hand(by_source, "last", "source", HELD)
    both = np.concatenate([known, aimed])
    scale = np.where(both.std(0) > 0, both.std(0), 1)
    classifier = LogisticRegression(max_iter=10_000).fit((both - both.mean(0)) / scale, np.arange(96) >= 48)
    p = classifier.predict_proba((features - both.mean(0)) / scale)
    weights, losses = p[:, 1] / p[:, 0], -np.log(probs[np.arange(16), labels])
    assert line["iwv"] == pytest.approx((weights * losses).mean(), rel=1e-3)
    eta = -np.cov(weights * losses, weights)[0, 1] / weights.var(ddof=1)
    assert line["dev"] == pytest.approx((weights * losses).mean() + eta * weights.mean() - eta, rel=1e-3)
    assert "accuracy" not in line


def test_labels_of_the_target_choose_nothing(tmp_path, monkeypatch):
    ends = []
    for shift in (0, 1):
        folder = tmp_path / str(shift)
        folder.mkdir()
        config = tiny_shifted.config_of(folder, model_selection="snd")
        config.early_stop.patience = 1
        arrays = dict(np.load(folder / "target.npz"))
        np.savez(folder / "target.npz", **{k: (v + shift) % 3 if k[0] == "y" else v for k, v in arrays.items()})
        train.run(config, folder / "run")
        chosen = [line.get("best_step") for line in log.read(folder / "run") if line.get("event") == "best"]
        scores = [(line["step"], line["snd"]) for line in lines_of(folder / "run", "selection")]
        ends.append((chosen, scores, runs.open(folder / "run").variables()["params"]["head"]["dense"]["kernel"]))
    assert ends[0][:2] == ends[1][:2]
    np.testing.assert_array_equal(ends[0][2], ends[1][2])
    chosen, scores, _ = ends[0]
    assert chosen == [max(scores, key=lambda pair: (pair[1], pair[0]))[0]]
    falls = [step for (_, before), (step, after) in itertools.pairwise(scores) if after <= before]
    assert not falls or falls[0] == scores[-1][0]  # one evaluation without a better one ends it


def test_without_anything_that_decides_the_last_is_the_model(tmp_path, capsys):
    phases = [configs.phase("adapt", steps=4)]
    run = trained(tmp_path, validation=False, phases=phases)
    assert [line["protocol"] for line in lines_of(run, "test")] == ["unselected", "last"]
    assert lines_of(run, "selection") == []
    assert "do not choose the model, which is the last step; choose by entropy, infomax, bnm, snd\n" in (
        capsys.readouterr().out
    )
    ends = [line["protocol"] for line in log.read(run) if line.get("event") == "phase_end"]
    assert ends == ["last"]


@pytest.mark.parametrize(
    ("named", "learned", "held", "decides", "of", "scores"),
    [
        ("best", ("target",), ("target",), "validation", "validation", ()),
        ("best", ("target",), (), "", "last", ()),
        ("last", ("target",), ("target",), "validation", "last", ()),
        ("oracle", ("target",), ("target",), "validation", "validation", ()),
        ("best", ("source",), ("target",), "", "last", ()),
        ("best", ("source",), ("target", "source"), "source", "source", ("source",)),
        ("best", (), ("target", "source"), "", "last", ()),
        ("last", ("source",), ("target", "source"), "source", "last", ("source",)),
        ("oracle", ("source",), ("target",), "oracle", "oracle", ()),
        ("oracle", ("source",), ("target", "source"), "oracle", "oracle", ("source",)),
        ("snd", ("source",), (), "snd", "snd", ("snd",)),
        ("snd", ("source",), ("source",), "snd", "snd", ("snd", "source")),
        ("snd", ("target",), ("target",), "snd", "snd", ("snd",)),
    ],
)
def test_what_decides(named, learned, held, decides, of, scores):
    streams = {
        name: SimpleNamespace(sources={"validation": None} if name in held else {}, task_name="classify")
        for name in ("target", "source")
    }
    config = SimpleNamespace(model_selection=named)
    run = SimpleNamespace(config=config, streams=streams, target=streams["target"], labelled=frozenset(learned))
    assert (protocol.decides(run), protocol.of(run), protocol.scores(run)) == (decides, of, scores)
    assert bool(protocol.told(run)) == (named == "best" and "target" not in learned)


def copied(run, folder, change):
    """A copy of a run whose log has another best event."""
    shutil.copytree(run, folder)
    lines = [line | (change if line.get("event") == "best" else {}) for line in log.read(run)]
    (folder / log.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_runs_are_compared_by_what_chose_their_models(by_source, tmp_path):
    better = copied(by_source, tmp_path / "better", {"value": 1.5})
    found = runs.compare([by_source, better])
    assert [one.folder for one in found] == [str(better), str(by_source)]
    assert (found[0].value, found[0].protocol, found[0].metric) == (1.5, "source", "source/accuracy")
    assert found[1].test["accuracy"] == lines_of(by_source, "test")[-1]["accuracy"]
    losses = [copied(by_source, tmp_path / str(v), {"metric": "source/loss", "value": v}) for v in (0.7, 0.2)]
    assert [one.value for one in runs.compare(losses)] == [0.2, 0.7]
    other = copied(by_source, tmp_path / "other", {"metric": "snd", "protocol": "snd"})
    with pytest.raises(InputError, match=r"runs on different scores can't be compared: .* source/accuracy \(source\)"):
        runs.compare([by_source, other])
    none = copied(by_source, tmp_path / "none", {"event": "none"})
    with pytest.raises(InputError, match=r"no score chose the run's model; name one in config"):
        runs.compare([by_source, none])


LOOKS = """
from jtransfer.objectives import Term

def at_labels(context, *, trained):
    def loss(view):
        right = (view.outputs["target"]["head"].argmax(-1) == view.batch["target"]["label"]).mean()
        value = view.outputs["target"]["head"].mean()
        return (value + right if trained else value), {"right": right}

    return Term(loss)
"""


@pytest.mark.parametrize(
    ("terms", "accumulate", "learned"),
    [
        (["task"], 1, {"source", "target"}),
        ([("task", {"on": ["source"]}), "mcd", "mdd"], 1, {"source"}),
        ([("task", {"on": ["source"]}), "mmd", "cdan"], 2, {"source"}),
        (["mcd"], 1, {"source"}),
        (["entropy", "l2sp"], 1, set()),
        (["looks.py:at_labels"], 1, {"target"}),
        (["looks.py:at_labels"], 2, set()),
    ],
)
def test_whose_labels_are_learned_from_is_seen_in_what_is_computed(terms, accumulate, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "looks.py").write_text(LOOKS)
    config = tiny_shifted.config_of(tmp_path)
    own = {"trained": "target" in learned}  # or else the labels are in a metric alone
    config.objective = [(term, own) if "looks" in term else term for term in terms]
    config.optim.accumulate, config.batch_size = accumulate, 32
    assert build.prepare(config, tmp_path / "run").labelled == learned


def with_patience(config):
    config.early_stop.patience = 2


def with_metric(config):
    config.early_stop.metric = "acuracy"


def without_source(config):
    config.objective = [("infomax", 1.0)]


@pytest.mark.parametrize(
    ("fields", "change", "says"),
    [
        ({"model_selection": "sdn"}, None, "unknown model_selection 'sdn'; nearest: snd"),
        ({"model_selection": "oracle", "validation": False}, None, "model_selection='oracle' needs data.validation"),
        ({"model_selection": "dev", "validation": False}, None, "needs a labelled stream of the target's task"),
        ({"model_selection": "source"}, without_source, "needs a labelled stream of the target's task"),
        ({}, with_metric, "unknown early_stop.metric 'acuracy'; nearest: accuracy"),
        ({"model_selection": "snd"}, with_metric, "both name what decides; leave out the latter"),
        ({"validation": False}, with_patience, "early_stop needs what decides without labels of the target"),
        (
            {"evals": [configs.evaluation("label_free", scores="snd")]},
            None,
            "scores='snd' of 'label_free' is of no kind",
        ),
        ({"evals": [configs.evaluation("label_free", scores=["sdn"])]}, None, "of the target 'sdn'; nearest: snd"),
        ({"evals": [configs.evaluation("label_free", most="x")]}, None, "most='x' of 'label_free' is"),
    ],
)
def test_what_can_not_decide_is_one_line(fields, change, says, tmp_path):
    config = tiny_shifted.config_of(tmp_path, **fields)
    if change:
        change(config)
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
