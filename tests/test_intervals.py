"""Intervals against SciPy's and against what is known of a mean."""

import numpy as np
import pytest
from scipy import stats

from jtransfer.metrics import intervals


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (90, 100), (10, 10), (1, 3)])
def test_wilson_is_scipys(successes, n):
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(intervals.wilson(successes, n), theirs, atol=1e-12)


def test_the_bootstrap_of_a_mean_is_that_of_its_normal_law():
    values = np.random.default_rng(1).normal(size=400)
    low, high = intervals.bootstrap(lambda rows: values[rows].mean(), 400, draws=4000)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose((low, high), (values.mean() - half, values.mean() + half), atol=0.1 * half)


def test_draws_without_a_finite_value_are_left_out():
    values = np.array([np.nan, 1.0])
    assert intervals.bootstrap(lambda rows: values[rows].mean(), 2) == (1.0, 1.0)
    assert np.isnan(intervals.bootstrap(lambda rows: np.nan, 2)).all()
