"""Tests of paired differences against SciPy's, published numbers and closed forms."""

import numpy as np
import pytest
from scipy import stats

from jtransfer.metrics import paired


def rights(both, first, second, neither):
    """What two models have right, of so many examples of each kind."""
    one = np.repeat([True, True, False, False], (both, first, second, neither))
    other = np.repeat([True, False, True, False], (both, first, second, neither))
    return one, other


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (1, 9, 22 / 1024),  # 2 · (1 + 10) / 2¹⁰
        (0, 6, 2 / 64),
        (6, 16, 0.0524788),  # twice the binomial tail of 6 in 22
        (121, 59, 4.434449e-06),  # of 59 in 180; the example in the documentation of statsmodels
    ],
)
def test_mcnemar(first, second, p):
    assert paired.mcnemar(*rights(7, first, second, 3)) == pytest.approx(p, rel=1e-3)


def test_randomization_of_one_right_or_wrong_is_mcnemars():
    one, other = rights(20, 3, 12, 5)
    apart = other.astype(float) - one
    found = paired.randomization(lambda swap: float(np.where(swap, -apart, apart).mean()), len(apart), draws=20_000)
    assert found == pytest.approx(paired.mcnemar(one, other), abs=4 * np.sqrt(0.035 / 20_000))


def test_randomization_of_a_mean_is_scipys():
    apart = np.random.default_rng(0).normal(0.5, 1, size=12)
    theirs = stats.permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    ours = paired.randomization(lambda swap: float(np.where(swap, -apart, apart).mean()), 12, draws=20_000)
    assert ours == pytest.approx(theirs, abs=0.01)


def test_no_difference_is_never_significant():
    assert paired.randomization(lambda swap: 0.0, 9, draws=50) == 1.0


def test_without_a_correction_the_t_test_is_scipys():
    values = [0.02, 0.05, -0.01, 0.04, 0.03]
    assert paired.corrected_t(values, 0.0) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-12)


def test_the_corrected_t_test_by_hand():
    values = np.array([0.02, 0.05, -0.01, 0.04, 0.03, 0.01, 0.06, 0.00, 0.02, 0.03])
    t = values.mean() / np.sqrt((1 / 10 + 1 / 9) * values.var(ddof=1))  # ten folds
    assert t == pytest.approx(2.503867, abs=1e-6)
    assert paired.corrected_t(values, 1 / 9) == pytest.approx(0.0336477, abs=1e-6)
    assert paired.corrected_t(values, 1 / 9) > paired.corrected_t(values, 0.0)


def test_equal_differences():
    assert paired.corrected_t([0.0, 0.0, 0.0], 0.25) == 1.0
    assert np.isnan(paired.corrected_t([0.1, 0.1, 0.1], 0.25))


def test_the_corrected_t_test_keeps_its_level_where_the_usual_one_does_not():
    """Of five folds whose differences share what they were trained on: a correlation of 1 / 5 (Nadeau & Bengio)."""
    rng = np.random.default_rng(0)
    draws = np.sqrt(0.2) * rng.normal(size=(2000, 1)) + np.sqrt(0.8) * rng.normal(size=(2000, 5))
    corrected, usual = ([paired.corrected_t(row, share) < 0.05 for row in draws] for share in (0.25, 0.0))
    assert np.mean(corrected) == pytest.approx(0.05, abs=0.015)
    assert np.mean(usual) > 0.1


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.6, 0.001], [1.0, 1.0, 0.003]),
        # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.01, np.nan, 0.03], [0.02, np.nan, 0.03]),
    ],
)
def test_holm(given, wanted):
    np.testing.assert_allclose(paired.holm(given), wanted)
