"""Losses of numbers and of pairs of embeddings, and which tokens count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import objectives
from jtransfer.core.errors import InputError

RNG = np.random.default_rng(0)


def test_numbers_are_compared_with_one_logit_each():
    logits, labels = np.float32([[0.5], [3.0], [-1.0]]), np.float32([0.0, 0.0, 1.0])
    np.testing.assert_allclose(objectives.mse(logits, labels), [0.25, 9, 4])
    np.testing.assert_allclose(objectives.mse(logits[:, 0], labels), [0.25, 9, 4])
    np.testing.assert_allclose(objectives.huber(logits, labels), [0.125, 2.5, 1.5])
    np.testing.assert_allclose(objectives.huber(logits, labels, delta=5.0), [0.125, 4.5, 2])
    masked = objectives.create("mse")(logits, labels, np.array([True, False, True]))
    np.testing.assert_allclose(masked, (0.25 + 4) / 2)
    np.testing.assert_allclose(objectives.create("huber", delta=5.0)(logits, labels), (0.125 + 4.5 + 2) / 3)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_other_pairs_of_a_batch_are_wrong_answers(symmetric):
    x = RNG.standard_normal((5, 2, 8))
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True)).transpose(1, 0, 2)
    scores = a @ b.T / 0.1
    forth, back = (np.log(np.exp(s).sum(1)) - np.diag(s) for s in (scores, scores.T))
    got = objectives.contrastive(x, temperature=0.1, symmetric=symmetric)
    np.testing.assert_allclose(got, (forth + back) / 2 if symmetric else forth, rtol=1e-5)
    scaled = objectives.contrastive(x * 7, temperature=0.1, symmetric=symmetric)
    np.testing.assert_allclose(got, scaled, rtol=1e-5)
    created = objectives.create("contrastive", temperature=0.1, symmetric=symmetric)(jnp.asarray(x), jnp.zeros(5, int))
    np.testing.assert_allclose(created, np.mean(got), rtol=1e-6)


def test_equal_pairs_cannot_be_told_apart_and_zeros_have_a_gradient():
    np.testing.assert_allclose(objectives.contrastive(np.ones((4, 2, 3))), np.full(4, np.log(4)), rtol=1e-6)
    slope = jax.grad(lambda x: objectives.contrastive(x).sum())(jnp.zeros((3, 2, 4)))
    assert np.isfinite(slope).all()


def test_tokens_without_a_label_do_not_count():
    labels, logits = np.array([[2, 0, -1], [1, -1, -1]]), RNG.standard_normal((2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(objectives.counted(labels), [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(objectives.counted(labels, np.array([True, False])), [[1, 1, 0], [0, 0, 0]])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(log_p[0, 0, 2] + log_p[0, 1, 0] + log_p[1, 0, 1]) / 3
    got = objectives.create("softmax")(logits, labels, objectives.counted(labels))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "fields"), [("contrastive", {"temperature": 0}), ("huber", {"delta": -1.0}), ("huber", {"delta": 0.0})]
)
def test_senseless_fields_are_named(name, fields):
    with pytest.raises(InputError, match=f"{next(iter(fields))}=.* must be more than 0"):
        objectives.create(name, **fields)
