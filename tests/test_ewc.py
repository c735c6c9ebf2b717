"""EWC on tasks whose Fisher matrix is known: least squares, one after the other, and a softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import objectives
from jtransfer.core.errors import InputError
from jtransfer.objectives import ewc as elastic
from jtransfer.objectives.sums import Mean

RNG = np.random.default_rng(0)
N, D = 40, 5


def half_squares(logits, labels, mask):
    each = 0.5 * jnp.square(logits[:, 0] - labels)
    return Mean(jnp.sum(each, where=mask), jnp.sum(mask))


def survey(params, x, y, *, size=10):
    """A linear model's, whose batches are filled up with what does not count."""

    def apply(variables, inputs, stages):
        return dict.fromkeys(stages, inputs @ variables["params"]["fc"]["kernel"])

    def batches(name, most):
        for i in range(0, len(x), size):
            rows = [np.concatenate([part[i : i + size], np.full_like(part[:3], 7)]) for part in (x, y)]
            yield {"inputs": rows[0], "label": rows[1], "mask": np.arange(len(rows[0])) < len(x[i : i + size])}

    return objectives.Survey({"params": params}, apply, lambda *_: {}, batches)


def source(loss, classes=1):
    return objectives.Source(classes, True, None, lambda params, x: x, loss)


def fisher(kernel, x, y, loss, **how):
    params = {"fc": {"kernel": jnp.asarray(kernel, jnp.float32)}}
    seen = survey(params, x.astype(np.float32), y)
    task = source(loss, kernel.shape[1])
    return elastic.fisher(seen, params, task, "head", **{"examples": 0, "draws": 0, **how})["fc/kernel"]


def test_the_fisher_matrix_of_a_gaussian_linear_model_is_that_of_its_inputs():
    x, y = RNG.normal(size=(N, D)), RNG.normal(size=N).astype(np.float32)
    found = fisher(RNG.normal(size=(D, 1)), x, y, half_squares)
    np.testing.assert_allclose(found[:, 0], np.diag(x.T @ x / N), rtol=1e-6)
    squares = fisher(RNG.normal(size=(D, 1)), x, y, objectives.create("mse"))  # of a variance of ½
    np.testing.assert_allclose(squares[:, 0], 2 * np.diag(x.T @ x / N), rtol=1e-5)


def test_the_fisher_matrix_of_a_softmax_is_the_expectation_over_its_own_predictions():
    x, kernel = RNG.normal(size=(N, D)), RNG.normal(size=(D, 3))
    logits = x @ kernel
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    expected = (x[:, :, None] ** 2 * (p * (1 - p))[:, None]).mean(0)
    labels = np.zeros(N, np.int32)
    np.testing.assert_allclose(fisher(kernel, x, labels, objectives.create("softmax")), expected, rtol=2e-4)
    drawn = fisher(kernel, x, labels, objectives.create("softmax"), draws=200)
    np.testing.assert_allclose(drawn, expected, rtol=0.15)


def test_many_classes_are_drawn_from_the_predictions():
    x, kernel = RNG.normal(size=(4, D)), RNG.normal(size=(D, 70))
    logits = x @ kernel
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = (x[:, :, None] ** 2 * (p * (1 - p))[:, None]).mean(0).sum(1)
    labels = np.zeros(4, np.int32)
    drawn = fisher(kernel, x, labels, objectives.create("softmax"), draws=300)
    np.testing.assert_allclose(drawn.sum(1), expected, rtol=0.1)
    with pytest.raises(InputError, match="70 outputs"):
        fisher(kernel, x, labels, objectives.create("softmax"))


def test_one_task_after_the_other_ends_where_both_together_do():
    """With inputs at right angles the Fisher matrix is its diagonal, and EWC is exact."""
    first = np.linalg.qr(RNG.normal(size=(N, D)))[0] * RNG.uniform(1, 3, D)
    second = RNG.normal(size=(N, D))
    y_first, y_second = RNG.normal(size=(2, N))
    begun = np.linalg.lstsq(first, y_first, rcond=None)[0]
    together = np.linalg.solve(first.T @ first + second.T @ second, first.T @ y_first + second.T @ y_second)

    context = objectives.Context(None, {}, 1, lambda: source(half_squares))
    term = objectives.TERMS["ewc"](context, examples=0, draws=0)
    params = {"fc": {"kernel": jnp.asarray(begun[:, None], jnp.float32)}}
    blank = term.constants({"params": params}, {})
    kept = term.measure(survey(params, first.astype(np.float32), y_first.astype(np.float32)), blank)

    def both(kernel):
        now = {"params": {"fc": {"kernel": kernel}}}
        view = objectives.View({}, {}, now, params, jax.random.key(0), jnp.int32(0), lambda *_: None, constants=kept)
        squares = 0.5 * jnp.mean(jnp.square(second.astype(np.float32) @ kernel[:, 0] - y_second.astype(np.float32)))
        return squares + term.loss(view)[0]

    slope = jax.grad(both)(jnp.asarray(together[:, None], jnp.float32))
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert float(jnp.abs(jax.grad(both)(params["fc"]["kernel"])).max()) > 1e-2


def test_more_classes_than_can_be_exact_are_told_before_anything_is_measured():
    streams = {"target": objectives.Stream(lambda *_: 0.0, lambda *_: {})}
    context = objectives.Context(None, streams, 1, lambda: source(objectives.create("softmax"), 65))
    with pytest.raises(InputError, match="draws=0 is for 64 outputs at most, and the source has 65 classes"):
        objectives.make([("ewc", {"draws": 0})], context)
