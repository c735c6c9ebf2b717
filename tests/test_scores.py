"""Scores of probabilities, curves and thresholds, against scikit-learn and by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize
from sklearn import metrics as sk

from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.evaluators import Context, groups, thresholds
from jtransfer.metrics import proper_scores, ranking, sampled, selective, temperature
from jtransfer.metrics.thresholds import choose
from jtransfer.tasks.classify import CLASSIFY
from jtransfer.tasks.multi_label import MULTI_LABEL

RNG = np.random.default_rng(3)
N, C = 300, 4
LABELS = RNG.integers(0, C, N)
LOGITS = np.round(RNG.normal(size=(N, C)) * 3 + 2 * np.eye(C)[LABELS], 0).astype(np.float32)  # many are equal
PROBS = np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum(1, keepdims=True)
TWO = (LABELS > 1).astype(np.int64)
SCORE = np.round(RNG.normal(size=N) + TWO, 1)


def test_areas_are_scikit_learns_with_ties():
    assert ranking.auroc(SCORE, TWO == 1) == pytest.approx(sk.roc_auc_score(TWO, SCORE), abs=1e-12)
    assert ranking.auprc(SCORE, TWO == 1) == pytest.approx(sk.average_precision_score(TWO, SCORE), abs=1e-12)
    logits = LOGITS + RNG.normal(size=(N, C))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    theirs = sk.roc_auc_score(LABELS, probs, multi_class="ovr")
    assert ranking.of_classes(ranking.auroc, logits, LABELS) == pytest.approx(theirs, abs=1e-12)
    hot = np.eye(C)[LABELS]
    for area, theirs in ((ranking.auroc, sk.roc_auc_score), (ranking.auprc, sk.average_precision_score)):
        assert ranking.of_classes(area, LOGITS, hot) == pytest.approx(theirs(hot, LOGITS, average="macro"), abs=1e-12)
    both = np.stack([0.3 * SCORE, 1.3 * SCORE], 1)  # of which the difference is the score
    assert ranking.of_classes(ranking.auroc, both, TWO) == pytest.approx(sk.roc_auc_score(TWO, SCORE), abs=1e-12)


def test_an_area_of_one_class_alone_is_none():
    assert np.isnan(ranking.auroc(SCORE, np.ones(N, bool)))
    assert np.isnan(ranking.auprc(SCORE, np.zeros(N, bool)))
    assert np.isnan(ranking.of_classes(ranking.auroc, LOGITS, np.zeros(N, int)))
    assert np.isnan(ranking.auroc(np.full(N, np.nan), TWO == 1))


def test_briers_score_is_scikit_learns():
    squares = np.square(PROBS - np.eye(C)[LABELS]).sum(1).mean()
    assert proper_scores.brier(PROBS, LABELS) == pytest.approx(squares, abs=1e-12)
    p = 1 / (1 + np.exp(-SCORE))
    assert proper_scores.brier(np.stack([1 - p, p], 1), TWO) == pytest.approx(
        2 * sk.brier_score_loss(TWO, p), abs=1e-12
    )


def test_the_debiased_error_is_none_of_a_calibrated_model_and_the_plug_in_error_is_its_bias():
    found, plug_in = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.5, 1, 400)
        probs, labels = np.stack([p, 1 - p], 1), (rng.random(400) > p).astype(np.int64)
        found.append(proper_scores.debiased_calibration_error(probs, labels))
        bin_of = np.ceil(p * 15)
        gaps = [abs((labels[bin_of == b] == 0).sum() - p[bin_of == b].sum()) for b in np.unique(bin_of)]
        plug_in.append(sum(gaps) / 400)
    assert np.median(found) < 0.03 < np.mean(plug_in)
    assert proper_scores.bias_of_ece(probs) == pytest.approx(np.mean(plug_in), rel=0.15)


def test_a_calibration_error_without_bias_by_hand():
    probs = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    labels = np.array([0, 0, 1, 1, 0])  # half of four are right; a bin with one example tells nothing
    expected = (4 / 5 * ((0.9 - 0.5) ** 2 - 0.25 / 3)) ** 0.5
    assert proper_scores.debiased_calibration_error(probs, labels) == pytest.approx(expected, abs=1e-12)


def loss(t, logits, labels):
    scaled = logits.astype(np.float64) / np.exp(t)
    return (np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(labels)), labels]).mean()


def test_the_temperature_is_where_the_loss_is_least():
    found = temperature.fit(LOGITS, LABELS)
    least = optimize.minimize_scalar(lambda t: loss(t, LOGITS, LABELS), bounds=(-3, 3), options={"xatol": 1e-10})
    assert found.temperature == pytest.approx(np.exp(least.x), rel=1e-5)
    assert found.accepted
    assert least.fun < found.after < found.before == pytest.approx(loss(0, LOGITS, LABELS))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (LOGITS, LOGITS.argmax(1)),  # all are right: the surer, the better
        (LOGITS, (LOGITS.argmax(1) + 1) % C),  # all are wrong
        (np.zeros((20, C), np.float32), LABELS[:20]),
        (np.full((20, C), np.nan, np.float32), LABELS[:20]),
        (LOGITS[:3], LABELS[:3]),  # fewer than there are folds
    ],
    ids=["all right", "all wrong", "no difference", "nan", "few"],
)
def test_a_temperature_that_the_examples_do_not_tell_is_one(logits, labels):
    found = temperature.fit(logits, labels)
    assert (found.temperature, found.accepted) == (1.0, False)


def test_a_temperature_never_makes_held_out_examples_worse():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 60)
    labels = np.array([rng.choice(3, p=row) for row in p])
    found = temperature.fit(np.log(p).astype(np.float32), labels)
    assert found.after < found.before if found.accepted else found.temperature == 1


def test_independent_classes_have_one_temperature():
    labels = (LOGITS + RNG.logistic(size=(N, C)) * 2 > 0).astype(np.float32)
    pairs, two, folds = temperature.as_two_classes(LOGITS, labels)
    found = temperature.fit(pairs, two, folds)

    def entropy(t):
        z = LOGITS.astype(np.float64) / np.exp(t)
        return (np.logaddexp(0, z) - labels * z).mean()

    least = optimize.minimize_scalar(entropy, bounds=(-3, 3), options={"xatol": 1e-10})
    assert found.temperature == pytest.approx(np.exp(least.x), rel=1e-5)


@pytest.mark.parametrize("by", ["f1", "youden", "cost"])
def test_a_threshold_is_the_best_of_all(by):
    p, costs = 1 / (1 + np.exp(-SCORE)), (1.0, 4.0)

    def value(threshold):
        predicted = p > threshold
        tn, fp, fn, tp = sk.confusion_matrix(TWO, predicted, labels=(0, 1)).ravel()
        if by == "f1":
            return sk.f1_score(TWO, predicted, zero_division=0)
        return tp / (tp + fn) + tn / (tn + fp) - 1 if by == "youden" else -(costs[0] * fp + costs[1] * fn)

    best = max(map(value, [0, 1, *np.unique(p) + 1e-9]))
    assert value(choose(p, TWO == 1, by, costs)) == pytest.approx(best, abs=1e-12)


def test_one_class_alone_tells_no_threshold():
    assert choose(PROBS[:, 0], np.ones(N, bool), "f1") is None
    assert choose(np.full(3, np.nan), np.array([True, False, True]), "f1") is None


def test_risk_over_coverage_by_hand():
    curve = selective.curve(np.array([0.6, 0.9, 0.8, 0.7]), np.array([True, False, True, False]))
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.excess == pytest.approx(curve.aurc - (0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert curve.at_risk(1 / 3) == (3 / 4, 0.7)
    assert curve.at_risk(0.1) == (1 / 4, 0.9)
    assert selective.curve(np.array([0.9, 0.8]), np.array([True, False])).at_risk(0.3) == (0, np.inf)


def test_equally_sure_predictions_are_in_no_order():
    wrong = np.array([True, False, False, True])
    one, other = (selective.curve(np.full(4, 0.5), w).risk for w in (wrong, wrong[::-1]))
    np.testing.assert_allclose(one, other)
    np.testing.assert_allclose(one, 0.5)
    assert selective.curve(np.array([0.9, 0.5, 0.5]), np.array([False, False, True])).at_risk(0.4)[0] == 1


def test_shares_have_wilsons_interval_and_losses_the_bootstraps():
    table = {"logits": LOGITS, "label": LABELS, "index": np.arange(N)}
    found = sampled.of_scores(lambda t: dict(CLASSIFY.score(t, ())), table, shares=True, draws=200)
    accuracy = (LOGITS.argmax(1) == LABELS).mean()
    z = 1.959963984540054
    centre, half = accuracy + z * z / (2 * N), z * np.sqrt(accuracy * (1 - accuracy) / N + z * z / (4 * N * N))
    np.testing.assert_allclose(
        found["accuracy"], [(centre - half) / (1 + z * z / N), (centre + half) / (1 + z * z / N)]
    )
    losses = -np.log(PROBS[np.arange(N), LABELS])
    spread = 1.96 * losses.std() / np.sqrt(N)
    np.testing.assert_allclose(found["loss"], [losses.mean() - spread, losses.mean() + spread], atol=0.2 * spread)


def test_a_table_without_examples_enough_has_no_interval():
    table = {"logits": LOGITS[:1], "label": LABELS[:1]}
    assert sampled.of_scores(lambda t: {"accuracy": 1.0}, table, shares=True) == {}


def context(task, table, **fields):
    config = SimpleNamespace(data=SimpleNamespace(validation="train[80%:]", name="csv:x.csv"), metrics=())
    names = [f"c{i}" for i in range(C)] if task is MULTI_LABEL else ["no", "yes"]
    usual = dict.fromkeys(Context._fields[:-3]) | {"class_names": names, "config": config, "task": task}
    return Context(**usual | {"table": lambda variables, split: table[split]} | fields)


def test_thresholds_are_chosen_on_one_split_and_measured_on_the_other():
    labels = np.eye(C)[LABELS].astype(np.float32)
    labels[:, 3] = 0  # which tells nothing of its threshold
    halves = {
        name: {"logits": LOGITS[rows], "label": labels[rows]}
        for name, rows in (("validation", slice(0, 150)), ("test", slice(150, None)))
    }
    got = dict(thresholds.make(context(MULTI_LABEL, halves), "test")({}))
    p, q = (1 / (1 + np.exp(-halves[name]["logits"].astype(np.float64))) for name in ("validation", "test"))
    for i in range(3):
        assert got[f"threshold/c{i}"] == choose(p[:, i], halves["validation"]["label"][:, i] > 0, "f1")
    assert (got["threshold/c3"], got["thresholds_kept"]) == (0.5, 1)
    chosen = q > [got[f"threshold/c{i}"] for i in range(C)]
    theirs = sk.f1_score(halves["test"]["label"], chosen, average="macro", zero_division=0)
    assert got["threshold_macro_f1"] == pytest.approx(theirs)


def test_a_threshold_of_two_classes_is_of_the_second_and_may_weigh_costs():
    logits = np.stack([np.zeros(N), SCORE], 1).astype(np.float32)
    halves = {name: {"logits": logits, "label": TWO} for name in ("validation", "test")}
    got = dict(thresholds.make(context(CLASSIFY, halves), "test", by="cost", costs=(1.0, 5.0))({}))
    p = 1 / (1 + np.exp(-SCORE.astype(np.float32).astype(np.float64)))
    costs = [((p > t) & (TWO == 0)).sum() + 5 * ((p <= t) & (TWO == 1)).sum() for t in (0, 1, *np.unique(p) + 1e-9)]
    assert got["threshold_cost"] == pytest.approx(min(costs) / N)
    assert next(iter(got)) == "threshold/yes"


def grouped(column, **fields):
    table = {"test": {"logits": LOGITS, "label": LABELS, "index": np.arange(N)}}
    of_name = None if column is None else (lambda name: column)
    source = Source(N, lambda i: {}, [], lambda start, stop: LABELS[start:stop], column=of_name)
    return groups.make(context(CLASSIFY, table, source=lambda split: source), "test", column="site", **fields)


def test_the_worst_group_is_that_of_those_that_are_large_enough():
    column = np.where(np.arange(N) < 5, "small", np.where(np.arange(N) % 3 == 0, "a", "b")).tolist()
    got = dict(grouped(column)({}))
    right = LOGITS.argmax(1) == LABELS
    shares = {name: right[np.array(column) == name].mean() for name in ("a", "b", "small")}
    for name, share in shares.items():
        assert got[f"groups/accuracy/{name}"] == pytest.approx(share)
        assert got[f"group_sizes/{name}"] == column.count(name)
    assert got["worst_group"] == pytest.approx(min(shares["a"], shares["b"]))
    assert got["group_gap"] == pytest.approx(abs(shares["a"] - shares["b"]))
    losses = dict(grouped(column, metric="loss")({}))
    assert losses["worst_group"] == max(losses["groups/loss/a"], losses["groups/loss/b"])


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (None, "needs data with columns"),
        (["one"] * N, "has 1 values"),
        (list(range(N)), "has 300 values"),
        (["a", "b"], "needs a group for each example"),
    ],
)
def test_what_is_no_group_is_refused(column, says):
    with pytest.raises(InputError, match=says):
        grouped(column)
