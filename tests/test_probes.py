"""Probes of features against the numbers of big_vision, DINOv2 and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

from jtransfer import probes
from jtransfer.core.errors import InputError
from jtransfer.probes.episodes import draw


def waves(rows, dims):
    """The features that the published numbers are of, and their classes."""
    i, j = np.asarray(rows)[:, None], np.arange(dims)[None]
    y = np.asarray(rows) % 3
    return np.sin(0.7 * i * (j + 1) + 0.3 * j) + 0.8 * ((y[:, None] + j) % 3 == 0), y


KNOWN, ASKED = waves(np.arange(30), 4), waves(np.arange(100, 130), 4)


def test_ridge_gives_the_numbers_of_big_vision():
    x, y = KNOWN
    found = probes.ridge(x.astype(np.float32), y, [2**-10, 1, 2**10])
    wanted = [
        [0.297235799, -0.223540704, -0.0736950949],
        [0.2903785264, -0.2161518842, -0.0742266423],
        [0.0115407197, -0.0062481181, -0.0052926016],
    ]
    whitened = found.kernel * (x.std(0) + 1e-5)[:, None]
    np.testing.assert_allclose(whitened[:, 0], wanted, atol=1e-6)
    assert probes.accuracies(found.kernel, found.bias, *ASKED).tolist() == [0.9, 0.9, 0.9]


@pytest.mark.parametrize("count", [12, 60])
def test_ridge_of_numbers_is_that_of_scikit_learn(count):
    """With more numbers than examples, and with fewer."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(count, 20)), rng.normal(size=(count, 2))
    found = probes.ridge(x, y, [30.0, 0.1])
    z = (x - x.mean(0)) / (x.std(0) + 1e-5)
    for l2, kernel, bias in zip((30.0, 0.1), found.kernel, found.bias, strict=True):
        reference = Ridge(alpha=l2).fit(z, y)
        np.testing.assert_allclose(x @ kernel + bias, reference.predict(z), atol=1e-3)  # but for the bias's penalty


@pytest.mark.parametrize(("k", "accuracy"), [(1, 0.9333), (5, 0.9), (20, 0.9333)])
def test_neighbours_give_the_numbers_of_dinov2(k, accuracy):
    probs = probes.knn(*KNOWN, ASKED[0], [k])[0]
    assert (probs.argmax(1) == ASKED[1]).mean() == pytest.approx(accuracy, abs=1e-4)
    first = {5: [0.0076716, 0.9923284, 0], 20: [0.0164886124, 0.98349056, 2.08276e-5]}
    if k in first:
        np.testing.assert_allclose(probs[0], first[k], atol=2e-6)


def test_neighbours_of_many_k_at_once_are_those_of_each():
    many = probes.knn(*KNOWN, ASKED[0], [20, 1, 5])
    for k, found in zip((20, 1, 5), many, strict=True):
        np.testing.assert_allclose(found, probes.knn(*KNOWN, ASKED[0], k)[0], atol=1e-6)


@pytest.fixture(scope="module")
def skewed():
    """Examples of 4 classes whose features differ in scale, and two subsets of them."""
    rng = np.random.default_rng(1)
    y = rng.integers(4, size=240)
    x = (rng.normal(size=(240, 12)) + rng.normal(size=(4, 12))[y]) * np.logspace(-0.7, 0.7, 12) + 5
    return x, y, np.stack([np.arange(240) % 5 != 0, np.arange(240) % 3 + 1]).astype(float)


def test_logistic_regression_is_that_of_scikit_learn(skewed):
    x, y, weights = skewed
    strengths = [1e-3, 1.0, 0.03]
    with jax.enable_x64(True):
        found = probes.logistic(x, y, strengths, weights, tol=1e-9)
    for subset, weight in enumerate(weights):
        for number, l2 in enumerate(strengths):
            reference = LogisticRegression(C=1 / (l2 * weight.sum()), solver="newton-cholesky", tol=1e-10)
            reference.fit(x, y, sample_weight=weight)
            np.testing.assert_allclose(found.kernel[subset, number].T, reference.coef_, atol=1e-4)
            logits = x @ found.kernel[subset, number] + found.bias[subset, number]
            np.testing.assert_allclose(jax.nn.softmax(logits, 1), reference.predict_proba(x), atol=1e-4)


def test_logistic_regression_in_float32_is_within_its_bound(skewed):
    x, y, weights = skewed
    with jax.enable_x64(True):
        least = np.asarray(probes.logistic(x, y, [1e-1, 1e-5], weights, tol=1e-9).objective)
    found = probes.logistic(x.astype(np.float32), y, [1e-1, 1e-5], weights)
    assert (np.asarray(found.bound) <= 1e-4 * np.asarray(found.objective)).all()
    assert (np.asarray(found.objective) <= least * (1 + 1.1e-4)).all()
    assert found.kernel.dtype == jnp.float32


def test_a_class_that_a_subset_lacks_is_never_told(skewed):
    x, y, _ = skewed
    found = probes.logistic(x, y, [0.1], np.stack([y != 2, np.ones_like(y)]))
    logits = np.asarray(jnp.einsum("nd,sdc->snc", x, found.kernel[:, 0]) + found.bias[:, 0, None])
    assert 2 not in logits[0].argmax(1)
    assert 2 in logits[1].argmax(1)
    keep = y != 2
    alone = probes.logistic(x[keep], np.where(y[keep] == 3, 2, y[keep]), [0.1])
    np.testing.assert_allclose(found.objective[0], alone.objective[0], rtol=1e-4)


def test_a_grid_of_sgd_is_each_setting_alone():
    x, y = (np.asarray(part) for part in waves(np.arange(50), 6))
    x = x.astype(np.float32)
    rates, strengths, seeds = [0.3, 0.05], [0.0, 0.1], [3, 7]
    grid = probes.sgd(x, y, rates, strengths, seeds, epochs=3, batch_size=16)
    assert grid.losses.shape == (2, 2, 2, 9)
    for r, k, s in [(0, 1, 0), (1, 0, 1)]:
        kernel, bias = _by_optax(x, y, rates[r], strengths[k], seeds[s], epochs=3, size=16)
        np.testing.assert_allclose(grid.kernel[r, k, s], kernel, atol=1e-5)
        np.testing.assert_allclose(grid.bias[r, k, s], bias, atol=1e-5)


def _by_optax(x, y, rate, l2, seed, epochs, size):
    rng, steps = np.random.default_rng(seed), epochs * (len(x) // size)
    tx = optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)
    w = (jnp.zeros((x.shape[1], 3)), jnp.zeros(3))
    state = tx.init(w)

    def loss(w, rows):
        losses = optax.softmax_cross_entropy_with_integer_labels(x[rows] @ w[0] + w[1], y[rows])
        return losses.mean() + l2 / 2 * (w[0] ** 2).sum()

    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - size + 1, size):
            updates, state = tx.update(jax.grad(loss)(w, order[start : start + size]), state)
            w = optax.apply_updates(w, updates)
    return w


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(2)
    y = np.repeat(np.arange(6), 20)
    return (rng.normal(size=(120, 40)) + 0.5 * rng.normal(size=(6, 40))[y]).astype(np.float32), y


@pytest.mark.parametrize("how", ["centroid", "ridge", "logistic"])
def test_episodes_are_those_of_scikit_learn(clouds, how):
    """The same draws, fitted one after the other."""
    x, y = clouds
    asked = {"shots": 3, "queries": 5, "count": 6, "l2": 0.1, "seed": 4}
    found = probes.episodes(x, y, 4, **asked, how=how)
    drawn = draw(y, np.unique(y), 4, 8, 6, 4)
    for accuracy, rows in zip(found.each, drawn, strict=True):
        known, new = x[rows[:, :3].ravel()], x[rows[:, 3:].ravel()]
        truth, told = np.repeat(np.arange(4), 3), np.repeat(np.arange(4), 5)
        if how == "ridge":
            reference = Ridge(alpha=0.1).fit(known, 2 * np.eye(4)[truth] - 1)
            guessed = reference.predict(new).argmax(1)
        else:
            models = {"centroid": NearestCentroid(), "logistic": LogisticRegression(C=1 / (0.1 * 12), max_iter=1000)}
            guessed = models[how].fit(known, truth).predict(new)
        assert accuracy == pytest.approx((guessed == told).mean(), abs=1e-6)
    assert found.interval[0] <= found.accuracy <= found.interval[1]


def test_episodes_of_all_classes(clouds):
    found = probes.episodes(*clouds, None, 5, count=20)
    assert found.each.shape == (20,)
    assert found.accuracy > 1 / 6


X, Y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
NAN = np.where(np.eye(4) == 0, np.nan, 1)
WRONG = {
    "example 0 and 3 others are not finite": lambda: probes.logistic(NAN, Y, [1.0]),
    "features of example 0 and 3": lambda: probes.ridge(NAN, Y, [1.0]),
    "queries of example 0": lambda: probes.knn(X, Y, NAN, 1),
    "all 4 examples are of class 1": lambda: probes.ridge(X, np.ones(4, int), [1.0]),
    "all 4 examples are of class 0": lambda: probes.episodes(X, np.zeros(4, int)),
    "subset 1 has examples of one class": lambda: probes.logistic(X, Y, [1.0], np.array([[1, 1, 1, 1], [1, 0, 1, 0]])),
    r"weights are \[4\]": lambda: probes.logistic(X, Y, [1.0], np.ones(4)),
    "weights: give numbers": lambda: probes.logistic(X, Y, [1.0], -np.ones((1, 4))),
    r"l2=\[0.0\]: give positive": lambda: probes.logistic(X, Y, [0.0]),
    r"l2=\[\]: give positive": lambda: probes.ridge(X, Y, []),
    r"k=5: give whole numbers from 1 to 4": lambda: probes.knn(X, Y, X, 5),
    "queries have 2 numbers each": lambda: probes.knn(X, Y, X[:, :2], 1),
    "temperature=0": lambda: probes.knn(X, Y, X, 1, temperature=0),
    "class 0 has 2 examples; 2 shots and 15 queries": lambda: probes.episodes(X, Y, 2, 2),
    "ways=5: give from 2 to 2": lambda: probes.episodes(X, Y, 5, 1, queries=1),
    "how='svm': give one of": lambda: probes.episodes(X, Y, 2, 1, queries=1, how="svm"),
    r"labels are \[3\] for 4": lambda: probes.logistic(X, Y[:3], [1.0]),
    "labels are float64": lambda: probes.logistic(X, Y * 1.0, [1.0]),
    "labels are from 0 to 1; give classes from 0 to 0": lambda: probes.knn(X, Y, X, 1, num_classes=1),
    r"features are \[0, 4\]": lambda: probes.ridge(X[:0], Y[:0], [1.0]),
    "targets are not all finite": lambda: probes.ridge(X, np.full(4, np.inf), [1.0]),
    "give positive rates": lambda: probes.sgd(X, Y, [-1.0]),
    "give one number at least": lambda: probes.sgd(X, Y, []),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told_in_one_line(said):
    with pytest.raises(InputError, match=said) as told:
        WRONG[said]()
    assert "\n" not in str(told.value)
