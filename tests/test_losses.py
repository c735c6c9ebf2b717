"""Losses against their formulas and optax's, class weights by torch's convention, and padding that cannot matter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jtransfer import objectives
from jtransfer.core.errors import InputError

B, C = 6, 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(B, C)) * 3, jnp.float32)
LABELS = jnp.asarray([0, 3, 1, 1, 2, 0])
ONE_HOT = jax.nn.one_hot(LABELS, C)
SOFT = jnp.asarray(RNG.dirichlet(np.ones(C), size=B), jnp.float32)
WEIGHTS = np.asarray([0.5, 2.0, 1.0, 3.0], np.float32)
LOSSES = ["softmax", "sigmoid", "focal"]


def test_softmax_is_the_negative_log_likelihood():
    expected = -np.log(jax.nn.softmax(LOGITS))[np.arange(B), LABELS]
    np.testing.assert_allclose(objectives.softmax_cross_entropy(LOGITS, LABELS), expected, rtol=1e-5)


def test_softmax_with_smoothing_mixes_in_the_uniform_distribution():
    nll = -np.asarray(jax.nn.log_softmax(LOGITS))
    expected = 0.9 * nll[np.arange(B), LABELS] + 0.1 * nll.mean(1)
    np.testing.assert_allclose(
        objectives.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=0.1), expected, rtol=1e-5
    )


@pytest.mark.parametrize("loss", [objectives.softmax_cross_entropy, objectives.sigmoid_cross_entropy, objectives.focal])
def test_classes_and_one_hot_distributions_agree(loss):
    got = loss(LOGITS, LABELS, class_weights=WEIGHTS)
    np.testing.assert_allclose(got, loss(LOGITS, ONE_HOT, class_weights=WEIGHTS), rtol=1e-6)
    assert got.shape == (B,)
    assert got.dtype == jnp.float32


def test_further_axes_are_further_examples():
    logits, labels = LOGITS.reshape(2, 3, C), LABELS.reshape(2, 3)
    got = objectives.softmax_cross_entropy(logits, labels).reshape(-1)
    np.testing.assert_allclose(got, objectives.softmax_cross_entropy(LOGITS, LABELS), rtol=1e-6)


def test_sigmoid_is_the_mean_of_binary_losses():
    several = jnp.asarray(RNG.integers(0, 2, size=(B, C)), jnp.float32)
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, several).mean(1)
    np.testing.assert_allclose(objectives.sigmoid_cross_entropy(LOGITS, several), expected, rtol=1e-6)


def test_sigmoid_class_weights_share_out_the_loss():
    losses = optax.sigmoid_binary_cross_entropy(LOGITS, ONE_HOT)
    expected = np.average(losses, axis=1, weights=WEIGHTS)
    got = objectives.sigmoid_cross_entropy(LOGITS, LABELS, class_weights=WEIGHTS)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_sigmoid_smoothing_moves_answers_towards_a_half():
    expected = optax.sigmoid_binary_cross_entropy(LOGITS, jnp.where(ONE_HOT == 1, 0.9, 0.1)).mean(1)
    got = objectives.sigmoid_cross_entropy(LOGITS, LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_two_classes_is_the_sigmoid_focal_loss(gamma):
    z = LOGITS[:, 0]
    two = jnp.stack([jnp.zeros_like(z), z], axis=1)
    labels = LABELS % 2
    expected = optax.sigmoid_focal_loss(z, labels.astype(jnp.float32), gamma=gamma)
    np.testing.assert_allclose(objectives.focal(two, labels, gamma=gamma), expected, rtol=1e-4)


def test_focal_without_focus_is_softmax():
    expected = objectives.softmax_cross_entropy(LOGITS, SOFT, class_weights=WEIGHTS)
    np.testing.assert_allclose(objectives.focal(LOGITS, SOFT, gamma=0.0, class_weights=WEIGHTS), expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_finite_gradient_where_it_is_certain(gamma):
    gradient = jax.grad(lambda x: objectives.focal(x, jnp.asarray([0, 1]), gamma=gamma).sum())
    assert np.isfinite(gradient(jnp.asarray([[500.0, 0.0], [500.0, 0.0]]))).all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_computed_in_float32(name):
    objective = objectives.create(name)
    half = LOGITS.astype(jnp.bfloat16)
    np.testing.assert_array_equal(objective(half, LABELS), objective(half.astype(jnp.float32), LABELS))


def test_the_gradient_of_softmax_is_one_pass_over_the_logits():
    """The softmax less one at the label, in the dtype of the logits, with nothing scattered."""
    logits = np.array([[0.5, -np.inf, 2.0], [1.0, 0.0, -3.0]], np.float32)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[[2, 0]]

    def total(logits):
        return 2 * objectives.create("softmax")(logits, jnp.array([2, 0]))

    np.testing.assert_allclose(jax.grad(total)(logits), expected, atol=1e-6)
    assert jax.grad(total)(jnp.asarray(logits, jnp.bfloat16)).dtype == jnp.bfloat16
    assert "scatter" not in str(jax.make_jaxpr(jax.grad(total))(logits))


def test_weighted_mean_is_divided_by_the_weights():
    got = objectives.create("softmax", class_weights=WEIGHTS, label_smoothing=0.1)(LOGITS, LABELS)
    nll = -np.asarray(jax.nn.log_softmax(LOGITS))
    weights = WEIGHTS[LABELS]
    losses = 0.9 * weights * nll[np.arange(B), LABELS] + 0.1 * (nll * WEIGHTS).mean(1)
    np.testing.assert_allclose(got, losses.sum() / weights.sum(), rtol=1e-5)


# torch.nn.functional.cross_entropy([[1, 2, 3], [1, 0, -1]], [2, 0], weight=[1, 2, 3], label_smoothing=e)
@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, 0.40760595), (0.1, 0.5076059)])
def test_weighted_mean_is_torchs(smoothing, expected):
    objective = objectives.create("softmax", class_weights=(1, 2, 3), label_smoothing=smoothing)
    got = objective(jnp.asarray([[1.0, 2.0, 3.0], [1.0, 0.0, -1.0]]), jnp.asarray([2, 0]))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["classes", "distributions"])
@pytest.mark.parametrize("class_weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_padding_changes_neither_loss_nor_gradient(name, labels, class_weights):
    objective = objectives.create(name, class_weights=class_weights)
    value, gradient = jax.value_and_grad(objective)(LOGITS, labels)
    padded = jnp.concatenate([LOGITS, jnp.full((3, C), 77.0)])
    rest = jnp.full((3, *labels.shape[1:]), 2, labels.dtype)
    mask = jnp.arange(B + 3) < B
    padded_value, padded_gradient = jax.value_and_grad(objective)(padded, jnp.concatenate([labels, rest]), mask)
    np.testing.assert_allclose(padded_value, value, rtol=1e-6)
    np.testing.assert_allclose(padded_gradient[:B], gradient, rtol=1e-5, atol=1e-8)
    assert not padded_gradient[B:].any()


def test_mean_ignores_what_stands_under_the_mask():
    losses = jnp.asarray([1.0, jnp.nan, 3.0, jnp.inf])
    assert objectives.mean(losses, jnp.asarray([True, False, True, False])) == 2
    assert objectives.mean(losses, jnp.zeros(4, bool)) == 0


def test_mean_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="differ in shape"):
        objectives.mean(jnp.ones(4), jnp.ones((4, 1), bool))


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("sofmax", {}, "unknown loss 'sofmax'; nearest: softmax"),
        ("focal", {"gama": 1.0}, "unknown field of the loss 'focal' 'gama'; nearest: gamma"),
        ("softmax", {"label_smoothing": 1.0}, "must be in"),
        ("focal", {"gamma": -1.0}, "must not be negative"),
        ("softmax", {"class_weights": [1.0, -2.0]}, "finite and not negative"),
    ],
)
def test_bad_fields_are_named(name, fields, says):
    with pytest.raises(InputError, match=says):
        objectives.create(name, **fields)


def test_class_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(InputError, match=r"\(3,\) for 4 classes"):
        objectives.create("softmax", class_weights=[1.0, 1.0, 1.0])(LOGITS, LABELS)
