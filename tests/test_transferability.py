"""Transferability scores: the numbers of the published implementations, where these are right, and what must hold."""

import numpy as np
import pytest

from jtransfer import selection
from jtransfer.core.errors import InputError
from jtransfer.selection import scores

# made with the published implementations in float64
LEEP, NCE = -0.9646713170876091, -0.8955294144974837
H_SCORE, H_SCORE_LW = 1.574022334764371, 1.2589742864662445
LOGME, LOGME_OF_NUMBERS = -0.4844797977210195, -1.1662034285172849
TRANSRATE = 3.99697849779918
GBC, GBC_SPHERICAL = -0.09442966117380422, -1.9969909195948834
WIDE = {  # fewer examples than features: (the published number, the evidence at the same precisions)
    (8, 12): (0.2337449, -0.7509625975),
    (20, 40): (1.9485266, -0.8081001),
}


@pytest.fixture
def fixture():
    """Features, labels and source probabilities of 60 examples of three classes."""
    i, j, s = np.arange(60)[:, None], np.arange(5), np.arange(4)
    y = np.arange(60) % 3
    features = np.sin(0.7 * i * (j + 1) + 0.3 * j) + 0.8 * ((y[:, None] + j) % 3 == 0)
    logits = np.cos(0.5 * i + 1.3 * s) + 0.9 * (y[:, None] == s % 3)
    probs = np.exp(logits)
    return features, y, probs / probs.sum(1, keepdims=True)


def wide(n, d):
    """Features and labels of fewer examples than features."""
    i, j = np.arange(n)[:, None], np.arange(d)
    if n == 8:
        return np.sin(i * (j + 1)), np.arange(n) % 2
    return np.sin(0.37 * (i + 1) * (j + 1)) + 0.5 * (i % 2 == 0) * (j < 3), np.arange(n) % 2


def rotation(d):
    return np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]


def test_numbers_of_the_published_implementations(fixture):
    f, y, p = fixture
    numbers = np.stack([2 * f[:, 0] + np.sin(np.arange(60)), np.cos(0.2 * np.arange(60))], 1)
    for found, wanted in (
        (selection.leep(p, y), LEEP),
        (selection.nce(p.argmax(1), y), NCE),
        (selection.h_score(f, y), H_SCORE),
        (selection.regularized_h_score(f, y), H_SCORE_LW),
        (selection.logme(f, y), LOGME),
        (selection.logme(f, numbers), LOGME_OF_NUMBERS),
        (selection.transrate(f, y), TRANSRATE),
        (selection.gbc(f, y), GBC),
        (selection.gbc(f, y, "spherical"), GBC_SPHERICAL),
    ):
        assert found == pytest.approx(wanted, abs=1e-8)


def moved(f, y):
    """The fixed point's precisions after 11 rounds, and the norms of the last round, by the published loop."""
    s, u = np.linalg.svd(f, full_matrices=False)[1], np.linalg.svd(f, full_matrices=False)[0]
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        gamma = (s**2 / (s**2 + ratio)).sum()
        weights = (s**2 * (u.T @ y) ** 2 / (ratio + s**2) ** 2).sum()
        residual = ((u.T @ y) ** 2 / (1 + s**2 / ratio) ** 2).sum() + max(y @ y - ((u.T @ y) ** 2).sum(), 0)
        alpha, beta = gamma / (weights + 1e-5), (len(y) - gamma) / (residual + 1e-5)
        if abs(alpha / beta - ratio) <= 1e-3 * ratio:
            break
    return s, alpha, beta, weights, residual


def published(f, y):
    """LogME of one target as it is published, with D factors of the determinant."""
    (n, d), (s, alpha, beta, weights, residual) = f.shape, moved(f, y)
    logs = d * np.log(alpha) + n * np.log(beta) - np.log(alpha + beta * s**2).sum() - n * np.log(2 * np.pi)
    return (logs - beta * residual - alpha * weights) / (2 * n)


def density(f, y):
    """The log-density of the targets themselves, a Gaussian of N dimensions, at the fixed point's precisions."""
    _, alpha, beta, *_ = moved(f, y)
    covariance = np.eye(len(y)) / beta + f @ f.T / alpha
    log_det = np.linalg.slogdet(covariance)[1]
    return -(y @ np.linalg.solve(covariance, y) + log_det + len(y) * np.log(2 * np.pi)) / (2 * len(y))


@pytest.mark.parametrize("shape", WIDE)
def test_logme_is_the_evidence_where_examples_are_few_and_the_published_form_is_not(shape):
    (f, y), (wrong, right) = wide(*shape), WIDE[shape]
    targets = [np.float64(y == c) for c in (0, 1)]
    assert np.mean([published(f, t) for t in targets]) == pytest.approx(wrong, abs=1e-6)
    assert np.mean([density(f, t) for t in targets]) == pytest.approx(right, abs=1e-7)
    assert selection.logme(f, y) == pytest.approx(np.mean([density(f, t) for t in targets]), abs=1e-8)


def test_columns_of_zeros_change_logme_in_the_published_form_alone(fixture):
    """So that models of different widths can be compared."""
    f, y, _ = fixture
    f, y = f[:12], y[:12]
    padded = np.pad(f, ((0, 0), (0, 100)))
    assert selection.logme(padded, y) == pytest.approx(selection.logme(f, y), abs=1e-4)
    assert abs(published(padded, y == 0.0) - published(f, y == 0.0)) > 1


def test_logme_with_more_rounds_is_at_the_fixed_point(fixture):
    f, y, _ = fixture
    ratios = np.exp(np.linspace(-6, 6, 4001))[:, None]

    def greatest(target):
        u, s, _ = np.linalg.svd(f)
        shrunk = 1 + np.append(s**2, np.zeros(55)) / ratios
        noise = ((u.T @ target) ** 2 / shrunk).mean(1)
        return (-0.5 * (np.log(2 * np.pi * noise) + 1 + np.log(shrunk).mean(1))).max()

    wanted = np.mean([greatest(np.float64(y == c)) for c in range(3)])
    assert selection.logme(f, y, rounds=1000) == pytest.approx(wanted, abs=1e-6)


def test_identities(fixture):
    f, y, p = fixture
    hard = np.eye(4)[p.argmax(1)]
    assert selection.leep(hard, y) == pytest.approx(selection.nce(p.argmax(1), y), abs=1e-12)
    assert selection.leep(np.full((60, 7), 1 / 7), y) == pytest.approx(-np.log(3), abs=1e-12)
    assert selection.leep(np.pad(p, ((0, 0), (0, 3))), y) == pytest.approx(LEEP, abs=1e-12)  # classes without mass
    skewed = f @ np.random.default_rng(1).normal(size=(5, 5)) + 7
    turned = f @ rotation(5)
    assert selection.h_score(skewed, y) == pytest.approx(H_SCORE, abs=1e-9)
    assert selection.h_score(np.hstack([f, f]), y) == pytest.approx(H_SCORE, abs=1e-9)  # of lower rank
    assert selection.logme(turned, y) == pytest.approx(LOGME, abs=1e-9)
    assert selection.transrate(turned + 3, y) == pytest.approx(TRANSRATE, abs=1e-9)
    assert selection.gbc(turned + 3, y, "spherical") == pytest.approx(GBC_SPHERICAL, abs=1e-9)
    assert selection.gbc(f * [1, 9, 2, 5, 3] + 3, y) == pytest.approx(GBC, abs=1e-9)


def test_names_of_classes_and_gaps_between_their_numbers_change_nothing(fixture):
    f, y, p = fixture
    for labels in (np.array(["a", "b", "c"])[y], np.array([0, 7, 90])[y]):
        assert selection.leep(p, labels) == pytest.approx(LEEP, abs=1e-12)
        assert selection.h_score(f, labels) == pytest.approx(H_SCORE, abs=1e-12)
        assert selection.logme(f, labels) == pytest.approx(LOGME, abs=1e-12)


def test_h_scores_of_more_features_than_examples():
    f, y = wide(20, 40)
    noise = np.random.default_rng(0).normal(size=f.shape)
    assert selection.h_score(f, y) == pytest.approx(1, abs=1e-9)  # its greatest, for any features
    assert selection.h_score(noise, y) == pytest.approx(1, abs=1e-9)
    assert selection.regularized_h_score(f, y) > selection.regularized_h_score(noise, y)


def test_features_that_do_not_vary_in_a_class_have_a_finite_overlap():
    """As those of units that are zero for all examples of a class."""
    rng = np.random.default_rng(0)
    f, y = np.maximum(rng.normal(size=(40, 6)), 0), np.arange(40) % 2
    f[:, 5] = 0
    whole = selection.gbc(f, y)
    assert -2 < whole < 0
    assert selection.gbc(f[:, :5], y) == pytest.approx(whole)
    f[y == 1, 0] = 0
    assert whole < selection.gbc(f, y) <= 0


def test_neighbours_leave_the_example_itself_out():
    f = np.eye(4)[[0, 0, 1, 1, 2, 2]][:, :3] + 1e-3 * np.arange(18).reshape(6, 3)
    assert selection.knn_accuracy(f, [0, 0, 1, 1, 2, 2], k=1) == 1
    assert selection.knn_accuracy(f, [0, 1, 0, 1, 0, 1], k=1) == 0
    assert selection.knn_accuracy(f, [0, 0, 1, 1, 2, 2], k=50) == 1  # all others vote


@pytest.mark.parametrize("width", [5, 30])
def test_the_linear_probe_is_ridge_regression_on_all_others(width):
    """Each prediction in closed form is that of a fit without the example."""
    y = np.arange(20) % 3
    f = np.random.default_rng(0).normal(size=(20, width)) + (y[:, None] == np.arange(width) % 3)
    least = []
    for l2 in np.linalg.svd(f - f.mean(0))[1].__pow__(2).mean() * 10.0 ** np.arange(-6, 4):
        found = []
        for i in range(20):
            rest = np.delete(np.arange(20), i)
            x, t = f[rest] - f[rest].mean(0), np.eye(3)[y[rest]]
            weights = np.linalg.solve(x.T @ x + l2 * np.eye(width), x.T @ (t - t.mean(0)))
            found.append(t.mean(0) + (f[i] - f[rest].mean(0)) @ weights)
        least.append((((np.eye(3)[y] - found) ** 2).sum(), (np.argmax(found, 1) == y).mean()))
    assert selection.linear_probe_accuracy(f, y) == pytest.approx(min(least)[1])


def test_scores_of_numbers(fixture):
    f, _, _ = fixture
    told, noise = f @ np.arange(5.0), np.cos(3.7 * np.arange(60.0) ** 2)
    assert selection.linear_probe_accuracy(f, told) == pytest.approx(1, abs=1e-6)
    assert selection.linear_probe_accuracy(f, noise) < 0.2
    assert selection.logme(f, told) > selection.logme(f, noise)
    assert scores.usual("number") == ("logme", "linear_probe")


def own(features, labels, power=2):
    """A score as a user writes one."""
    return (features**power).sum(1)


def test_a_score_is_given_what_its_arguments_name(fixture):
    f, y, p = fixture
    given = {"features": f, "labels": y, "source_probs": p}
    assert scores.needs("leep") == ("source_probs", "labels")
    assert scores.needs(f"{__file__}:own") == ("features", "labels")
    assert scores.compute(f"{__file__}:own", given).tolist() == own(f, y).tolist()
    wanted = {"leep": LEEP, "nce": NCE, "h_score": H_SCORE, "h_score_lw": H_SCORE_LW, "logme": LOGME}
    wanted |= {"transrate": TRANSRATE, "gbc": GBC_SPHERICAL, "knn": 1.0, "linear_probe": 0.9}
    assert {name: scores.compute(name, given).mean() for name in selection.SCORES} == pytest.approx(wanted)


def broken(features, labels):
    return np.nan


def strange(features, sizes):
    return 0


F, Y = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6) % 2
NAN = np.where(np.arange(6)[:, None] == 3, np.nan, F)
WRONG = [
    ("example 3 and 0 others are not finite", lambda: selection.logme(NAN, Y)),
    ("of one class", lambda: selection.h_score(F, np.ones(6, int))),
    ("5 labels of 6", lambda: selection.transrate(F, Y[:5])),
    ("one class for each example", lambda: selection.gbc(F, F[:, 0])),
    ("the class 4 has one example", lambda: selection.gbc(F, [0, 0, 4, 0, 0, 0])),
    ("sum to 1", lambda: selection.leep(np.ones((6, 3)), Y)),
    ("from -0.2", lambda: selection.leep(np.tile([1.2, -0.2], (6, 1)), Y)),
    ("of one class", lambda: selection.leep(np.full((6, 2), 0.5), Y * 0)),
    ("source labels", lambda: selection.nce(Y[:4], Y)),
    (r"numbers \[examples, features\]", lambda: selection.knn_accuracy(F[0], Y)),
    ("the same label", lambda: selection.logme(F, np.ones(6))),
    ("zero", lambda: selection.logme(F * 0, Y)),
    ("unknown covariance 'full'", lambda: selection.gbc(F, Y, "full")),
    ("unknown score 'leap'; nearest: leep", lambda: scores.needs("leap")),
    ("an argument 'sizes'", lambda: scores.needs(f"{__file__}:strange")),
    ("gives nan", lambda: scores.compute(f"{__file__}:broken", {"features": F, "labels": Y})),
]


@pytest.mark.parametrize(("said", "call"), WRONG)
def test_what_does_not_fit_is_one_line(said, call):
    with pytest.raises(InputError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
