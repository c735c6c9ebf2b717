"""Whether the transfer helped is told of the same examples, changes no number of the run, and is not done twice."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_vectors
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from jtransfer import config as configs
from jtransfer import runs, train, verdict
from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.judging import judge, linear, scratch, trivial
from jtransfer.modalities.image import plain as image_plain
from jtransfer.modalities.text import plain as text_plain
from jtransfer.reporting import page
from jtransfer.reporting import verdict as report_verdict
from jtransfer.runs import folder as folders
from jtransfer.runs import paired, verdicts
from jtransfer.tasks.classify import CLASSIFY
from jtransfer.tasks.regress import REGRESS
from jtransfer.tasks.tag import TAG

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that began with another one."""
    folder = tmp_path_factory.mktemp("transfer")
    first = tiny_vectors.config_of(folder, steps=40)
    first.optim.lr, first.eval_every = 0.05, 40
    train.run(first, folder / "first")
    second = tiny_vectors.config_of(folder, steps=4)
    second.init, second.optim.l2sp, second.optim.layer_decay = str(folder / "first"), 0.1, 0.5
    train.run(second, folder / "second")
    return folder / "second"


@pytest.fixture(scope="module")
def judged(begun):
    before = {name: (begun / name).read_bytes() for name in ("metrics.jsonl", "predictions.npz", "config.json")}
    found = verdict.judge(begun, scratch=1.0)
    assert before == {name: (begun / name).read_bytes() for name in before}
    return found


@pytest.fixture
def copied(begun, judged, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def never(*_):
    raise AssertionError("a run from scratch is not to be trained again")


def test_a_transfer_that_helped_is_told_so(judged, begun):
    of_scratch, often, regression = judged.compared
    assert (judged.word, of_scratch.word, often.word) == ("helped", "helped", "helped")
    other = runs.open(scratch.folder_of(runs.open(begun), 1.0))
    ours, theirs = runs.open(begun).predictions, other.predictions
    right = [(one["probs"].argmax(1) == one["label"]).mean() for one in (ours, theirs)]
    assert [of_scratch.run, of_scratch.baseline] == pytest.approx(right)
    assert of_scratch.low > 0
    most = np.bincount(runs.open(begun).source("train").labels).argmax()
    assert often.baseline == pytest.approx((ours["label"] == most).mean())
    assert regression.name == "logistic regression on the vectors"
    assert regression.examples == 16


def test_what_was_compared_is_not_done_again(copied, judged):
    settings = {"trivial": 0.1, "scratch": 1.0}
    for folder in ("constant", "linear"):
        (copied / verdicts.FOLDER / folder).chmod(0o500)
    assert judge.judge(copied, settings, never).compared == judged.compared


def described(folder):
    return report_verdict.describe(runs.open(folder))["verdict"]


def test_the_report_says_it(copied, judged):
    text = page.write(copied).read_text()
    assert "Did the transfer help?" in text
    assert '<b class="up">Helped.</b>' in text
    assert "the same model from scratch" in text


def test_a_run_that_was_not_compared_says_so(copied):
    (copied / verdicts.FILE).unlink()
    assert described(copied)["word"] == "not compared"


def test_a_verdict_on_other_predictions_is_none(copied):
    arrays = runs.open(copied).predictions
    np.savez(copied / "predictions.npz", **arrays | {"probs": arrays["probs"][::-1]})
    assert described(copied)["why"] == "the run has gone on since it was compared"


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"compared": [{}], "left_out": [], "predictions": "", "transferred": 1}']
)
def test_a_damaged_verdict_is_none(copied, content):
    (copied / verdicts.FILE).write_text(content)
    assert "verdict.json" in described(copied)["why"]


def test_nothing_is_compared_where_it_is_turned_off(copied):
    (copied / verdicts.FILE).unlink()
    assert judge.judge(copied, {"trivial": 0.0, "scratch": 0.0}, never) is None
    assert not (copied / verdicts.FILE).exists()


def test_what_was_left_out_is_told(copied):
    found = judge.judge(copied, {"trivial": 0.0, "scratch": 0.0 + 0.1}, lambda config, folder: None)
    assert not found.compared
    assert found.word == "not answered"
    found = judge.judge(copied, {"trivial": 0.1, "scratch": 0.0}, never)
    assert "it was not compared with the same model from scratch" in found.left_out[0]
    assert [one.kind for one in found.compared] == ["trivial", "trivial"]


def test_a_run_that_began_from_scratch_transferred_nothing(begun):
    found = judge.judge(begun.parent / "first", {"trivial": 0.1, "scratch": 1.0}, never)
    assert (found.transferred, found.word) == (False, "not answered")
    assert "nothing was transferred" in found.left_out[0]


def test_a_run_that_has_not_ended_is_refused(copied):
    log = copied / "metrics.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(True) if "phase_end" not in line))
    with pytest.raises(InputError, match="the run has not ended"):
        judge.judge(copied, {"trivial": 0.1, "scratch": 0.0}, never)


def test_labels_that_are_not_trained_on_are_no_baselines(copied):
    stored = json.loads((copied / "config.json").read_text())
    stored["objective"] = [["task", {"on": ["source"]}]]
    (copied / "config.json").write_text(json.dumps(stored))
    found = judge.judge(copied, {"trivial": 0.1, "scratch": 1.0}, never)
    assert found.left_out == (judge._UNSUPERVISED,)


def test_data_that_are_gone_are_told(copied, begun):
    shutil.rmtree(copied / verdicts.FOLDER)
    stored = json.loads((copied / "config.json").read_text())
    stored["data"]["name"] = "npz:/nowhere/vectors.npz"
    (copied / "config.json").write_text(json.dumps(stored))
    found = judge.judge(copied, {"trivial": 0.1, "scratch": 0.0}, never)
    assert not found.compared
    assert sum("was not compared: " in line for line in found.left_out) == 2


@pytest.mark.parametrize("share", [-1.0, float("nan")])
def test_a_share_below_0_is_refused(begun, share):
    with pytest.raises(InputError, match="must be at least 0"):
        verdict.judge(begun, scratch=share)


def test_other_settings_of_the_verdict_are_no_other_run(begun):
    config = runs.open(begun).config.copy_and_resolve_references().unlock()
    config.verdict.scratch = 1.0
    folders.check(begun, configs.complete(config))


def test_the_run_from_scratch_transfers_nothing_and_trains_all(begun):
    config = scratch.config_of(runs.open(begun), 0.5)
    assert (config.init, config.optim.l2sp, config.optim.layer_decay) == ("scratch", 0.0, 1.0)
    assert [(phase.steps, phase.trainable) for phase in config.phases] == [(2, ".*")]
    assert config.optim.lr == runs.open(begun).config.optim.lr


def table(right):
    logits = np.where(np.asarray(right)[:, None], [1.0, 0.0], [0.0, 1.0]).astype(np.float32)
    return {"logits": logits, "label": np.zeros(len(right), np.int32), "index": np.arange(len(right))}


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ([1] * 90 + [0] * 10, [1] * 60 + [0] * 40, "helped"),
        ([1] * 60 + [0] * 40, [1] * 90 + [0] * 10, "hurt"),
        ([1] * 52 + [0] * 48, [0] * 49 + [1] * 51, "no difference shown"),
        ([1] * 100, [1] * 100, "no difference shown"),
        ([1] * 100, [1] * 95 + [0] * 5, "no difference shown"),  # a sign test of five examples has p = 0.0625
        ([1] * 100, [1] * 94 + [0] * 6, "helped"),  # of six, 0.031
        ([1] * 3, [0] * 3, "no difference shown"),
    ],
)
def test_the_word_is_that_of_the_interval(first, second, word):
    found = paired.compare(CLASSIFY, "accuracy", False, table(first), table(second), ("a", "b"))
    assert found.word == word
    assert found.first - found.second == pytest.approx(np.mean(first) - np.mean(second))


def test_only_examples_that_both_have_are_compared():
    one, other = table([1] * 40), table([1, 0] * 20)
    fewer = {name: array[10:30] for name, array in other.items()}
    found = paired.compare(CLASSIFY, "accuracy", False, one, fewer, ("a", "b"))
    assert (found.examples, found.second) == (20, 0.5)
    assert paired.compare(CLASSIFY, "accuracy", False, one, {**other, "index": other["index"] + 99}, ()) is None


def test_less_of_an_error_is_better():
    label = RNG.normal(size=60)
    near, far = (
        {"logits": (label + scale * RNG.normal(size=60))[:, None], "label": label, "index": np.arange(60)}
        for scale in (0.1, 2.0)
    )
    assert paired.metric_of(REGRESS, near, ()) == "mae"
    assert paired.compare(REGRESS, "mae", True, near, far, ()).word == "helped"
    assert paired.compare(REGRESS, "mae", True, far, near, ()).word == "hurt"


def test_linear_models_are_scikit_learns():
    x = RNG.normal(size=(40, 5)) + 3.0
    y = np.arange(40) % 3
    found = linear.fit(x, np.eye(3)[y], "class")  # of so few examples, C is 1
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(found.weights.T, theirs.coef_, atol=2e-3)
    two = linear.fit(x, (y[:, None] > 0).astype(float), "classes")
    theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y > 0)
    np.testing.assert_allclose(two.weights.T, theirs.coef_, atol=2e-3)
    numbers = x @ RNG.normal(size=5) + RNG.normal(size=40)
    ridge = linear.fit(x, numbers[:, None], "number")
    np.testing.assert_allclose(ridge(x)[:, 0], Ridge(alpha=1.0).fit(x, numbers).predict(x), atol=2e-2)


def test_a_fit_that_is_out_of_time_gives_up():
    with pytest.raises(linear.OutOfTime):
        linear.fit(np.ones((4, 2)), np.eye(2)[[0, 1, 0, 1]], "class", deadline=0.0)


def test_words_are_weighed_as_scikit_learn_does():
    texts = ["The day is good, very good", "a bad night", "the night is fine", "été über naïve"]
    features = text_plain.tfidf([[text] for text in texts], lambda example: [example["text"]])
    found = features.of([{"text": text} for text in texts]).toarray()
    theirs = TfidfVectorizer().fit(texts)
    order = [f"0:{word}" for word in theirs.get_feature_names_out()]
    assert sorted(order) == sorted(set(text_plain.words([" ".join(texts)])))
    np.testing.assert_allclose(
        np.sort(found, 1)[:, -6:], np.sort(theirs.transform(texts).toarray(), 1)[:, -6:], atol=1e-12
    )
    assert not features.of([{"text": "nothing known"}]).nnz


def test_signs_of_scripts_without_spaces_are_words_and_two_texts_have_words_of_their_own():
    assert text_plain.words(["猫が好き"]) == ["0:猫", "0:が", "0:好", "0:き"]
    assert text_plain.words(["one two", "two"]) == ["0:one", "0:two", "1:two"]


def test_pixels_are_few_and_grey_where_all_are():
    grey = np.repeat(RNG.integers(0, 256, (5, 50, 40, 1), np.uint8), 3, -1)
    features = image_plain.pixels(list(grey))
    assert features.words == "32 × 32 grey pixels"
    assert features.of([{"image": image} for image in grey]).shape == (5, 1024)
    small = RNG.integers(0, 256, (2, 8, 6, 3), np.uint8)
    found = image_plain.pixels(list(small)).of([{"image": image} for image in small])
    np.testing.assert_allclose(found, small.reshape(2, -1) / np.float32(255))


def test_tags_are_compared_with_the_most_frequent_one(tmp_path, monkeypatch):
    tags = [[0, 1, 1], [1, -1], [2, 1]]
    source = Source(
        3, lambda i: {"tokens": ["a"] * len(tags[i]), "label": tags[i]}, [], lambda start, stop: np.empty(0)
    )
    monkeypatch.setattr(trivial.fingerprint, "changes", lambda *_: "")
    label = np.array([[0, 1, -1], [1, 1, -1]], np.int32)
    names, config = ["O", "B-X", "B-Y"], SimpleNamespace(task="tag")
    run = SimpleNamespace(task=TAG, class_names=names, folder=tmp_path, source=lambda split: source, config=config)
    (found,) = trivial.baselines(run, {"label": label, "index": np.arange(2)}, 1.0)
    assert found.name == "the most frequent class, 'B-X', for every word"
    assert dict(TAG.score(dict(found.table), names))["accuracy"] == 3 / 4
    (again,) = trivial.baselines(run, {"label": label, "index": np.arange(2)}, 1.0)  # which is read from the folder
    np.testing.assert_array_equal(again.table["predicted"], found.table["predicted"])


def test_what_takes_more_than_its_share_is_left_out(begun, monkeypatch):
    monkeypatch.setattr(trivial, "SECONDS", 0.0)
    run = runs.open(begun)
    monkeypatch.setattr(trivial, "_read", lambda folder, kept: None)
    lines = [one for one in trivial.baselines(run, run.predictions, 0.0) if isinstance(one, str)]
    assert lines == [
        "logistic regression was not compared: reading 48 examples takes more than its share of the run's time; raise "
        "config.verdict.trivial"
    ]
