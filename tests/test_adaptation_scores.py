"""Scores without labels of a domain: reference values, identities, and risks whose truth is known."""

import numpy as np
import pytest

from jtransfer.metrics import adaptation

ROWS, COLUMNS = np.arange(60)[:, None], np.arange(5)[None]
FEATURES = np.sin(0.7 * ROWS * (COLUMNS + 1) + 0.3 * COLUMNS) + 0.8 * ((ROWS % 3 + COLUMNS) % 3 == 0)
LOGITS = 2 * np.cos(0.8 * np.arange(6)[:, None] + 1.1 * np.arange(3)[None])
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: adaptation.soft_neighborhood_density(FEATURES), 1.7654973218721724),
        (lambda: adaptation.mean_entropy(PROBS), 0.6542407117379162),
        (lambda: adaptation.infomax(PROBS), 0.3638860534031224),
        (lambda: adaptation.nuclear_norm(PROBS), 0.47890335407621537),
    ],
    ids=["snd", "entropy", "infomax", "nuclear norm"],
)
def test_values_are_those_of_the_reference(found, expected):
    assert found() == pytest.approx(expected, rel=1e-6)


def test_neighbourhoods_are_the_same_in_blocks_of_rows(monkeypatch):
    whole = adaptation.soft_neighborhood_density(FEATURES)
    monkeypatch.setattr(adaptation, "_ROWS", 7)
    assert adaptation.soft_neighborhood_density(FEATURES) == pytest.approx(whole, rel=1e-12)


def test_predictions_that_are_sure_and_of_all_classes_are_the_best():
    sure, same, even = np.eye(3)[np.arange(6) % 3], np.eye(3)[np.zeros(6, int)], np.full((6, 3), 1 / 3)
    assert adaptation.mean_entropy(sure) == adaptation.mean_entropy(same) == 0
    assert adaptation.infomax(sure) == pytest.approx(np.log(3))
    assert [adaptation.infomax(x) for x in (same, even)] == pytest.approx([0, 0])
    assert adaptation.nuclear_norm(sure) == pytest.approx(3 * np.sqrt(2) / 6)
    assert adaptation.nuclear_norm(same) == pytest.approx(np.sqrt(6) / 6)
    assert adaptation.nuclear_norm(even) == pytest.approx(np.sqrt(2) / 6)
    assert adaptation.soft_neighborhood_density(same) == pytest.approx(np.log(5))  # all others are as near


LOSSES, WEIGHTS = np.array([0.2, 1.4, 0.7, 0.1, 2.0]), np.array([0.5, 1.5, 0.8, 1.2, 2.5])


def test_risks_by_hand():
    weighted = WEIGHTS * LOSSES
    assert adaptation.weighted_risk(LOSSES, WEIGHTS) == pytest.approx(weighted.mean())
    both = np.cov(weighted, WEIGHTS)
    eta = -both[0, 1] / both[1, 1]
    expected = weighted.mean() + eta * WEIGHTS.mean() - eta
    assert adaptation.deep_embedded_validation(LOSSES, WEIGHTS) == pytest.approx(expected, rel=1e-12)


def test_weights_of_one_leave_the_mean_loss():
    ones = np.ones(5)
    risks = [risk(LOSSES, ones) for risk in (adaptation.weighted_risk, adaptation.deep_embedded_validation)]
    assert risks == pytest.approx([LOSSES.mean()] * 2)


def test_the_control_variate_takes_away_a_loss_that_is_the_same_everywhere():
    assert adaptation.deep_embedded_validation(np.full(5, 0.3), WEIGHTS) == pytest.approx(0.3)


def test_density_ratios_of_gaussians_are_known():
    """log p_t(x) / p_s(x) of N(1, 1) and N(0, 1) is x − ½, whatever the numbers of examples."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(40_000, 1)), rng.normal(size=(10_000, 1)) + 1
    of = np.linspace(-1, 2, 7)[:, None]
    np.testing.assert_allclose(adaptation.density_ratios(source, target, of), np.exp(of[:, 0] - 0.5), rtol=0.1)


def test_the_weighted_risk_is_that_of_the_other_domain():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 1)) + 1
    held = rng.normal(size=(20_000, 1))
    weights = adaptation.density_ratios(source, target, held)
    truth = 2.0  # E x² of N(1, 1); of N(0, 1) it is 1
    assert adaptation.weighted_risk(held[:, 0] ** 2, weights) == pytest.approx(truth, rel=0.1)
    assert adaptation.deep_embedded_validation(held[:, 0] ** 2, weights) == pytest.approx(truth, rel=0.1)


def test_domains_are_at_a_distance_where_they_differ():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 400, 4))
    assert adaptation.a_distance(one, other) < 0.4
    assert adaptation.a_distance(one, other + 20) == 2
    assert adaptation.a_distance(one, other + 1) == adaptation.a_distance(one, other + 1)
    assert adaptation.a_distance(other + 1, one) == pytest.approx(adaptation.a_distance(one, other + 1), abs=0.3)


def test_a_column_that_never_changes_tells_nothing():
    one = np.concatenate([np.random.default_rng(3).normal(size=(50, 2)), np.full((50, 1), 7.0)], 1)
    assert np.isfinite(adaptation.density_ratios(one, one, one)).all()
