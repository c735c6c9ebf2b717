"""What keeps training near its start, or where the loss is flat: decoupled L2-SP, SAM, DELTA, Co-Tuning, Bi-Tuning."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy
import small
import test_transfer_terms as terms

from jtransfer import objectives
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.objectives import attention, behaviour, bituning
from jtransfer.training import optim, sharpness, state, step

PARAMS = {"stem": {"kernel": jnp.array([[1.0, -2.0]])}, "head": {"kernel": jnp.array([[0.5], [3.0]])}}
GRADS = {"stem": {"kernel": jnp.array([[0.3, 0.1]])}, "head": {"kernel": jnp.array([[-1.0], [0.2]])}}
EVERY = {"l2sp_rules": ((".*", True),), "decay_rules": ((".*", True),), "clip": 0.0, "layer_decay": 1.0}


def updated(steps=3, initial=None, **changes):
    tx = optim.make(small.OPTIM | EVERY | changes, PARAMS, total_steps=10)
    params, held = PARAMS, tx.init(PARAMS)
    more = {} if initial is None else {"initial": initial}
    for _ in range(steps):
        updates, held = optax.with_extra_args_support(tx).update(GRADS, held, params, **more)
        params = optax.apply_updates(params, updates)
    return params


def test_decay_towards_zeros_is_that_of_adamw():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    found = updated(initial=zeros, weight_decay=0.0, l2sp=0.1, name="adamw")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, updated(weight_decay=0.1, name="adamw")
    )


def test_decay_takes_the_rate_times_the_way_from_the_start():
    begun = jax.tree.map(lambda x: x - 2, PARAMS)
    how = {
        "name": "sgd",
        "kwargs": {"momentum": 0.0},
        "lr": 0.5,
        "schedule": "constant",
        "warmup": 0,
        "weight_decay": 0.0,
    }
    rates = {"rates": (("head/.*", 0.1), (".*", 1.0)), "l2sp_rules": (("stem/.*", True), (".*", False))}
    found = updated(1, begun, l2sp=0.1, **how, **rates)
    np.testing.assert_allclose(
        found["stem"]["kernel"], PARAMS["stem"]["kernel"] - 0.5 * (GRADS["stem"]["kernel"] + 0.2)
    )
    np.testing.assert_allclose(found["head"]["kernel"], PARAMS["head"]["kernel"] - 0.05 * GRADS["head"]["kernel"])


def test_decay_without_the_start_is_one_line():
    with pytest.raises(InputError, match="needs the parameters and `initial`"):
        updated(1, l2sp=0.1)
    tree = {"params": PARAMS, "aux": {"dann": {"kernel": jnp.ones(1)}}}
    with pytest.raises(InputError, match="l2sp_rules: aux/dann/kernel has no value"):
        optim.make(small.OPTIM | EVERY | {"l2sp": 0.1}, tree, total_steps=3)


def training(sam=0.0, accumulate=1):
    model = terms.MODEL
    params = jax.jit(model.init)(jax.random.key(0), model.example_input())["params"]
    mask = rules.trainable(".*", params, model.stages)
    how = {
        "lr": 0.1,
        "name": "sgd",
        "kwargs": {"momentum": 0.0},
        "schedule": "constant",
        "warmup": 0,
        "weight_decay": 0.0,
    }
    tx = optim.make(small.OPTIM | how | {"clip": 0.0, "layer_decay": 1.0}, {"params": params}, total_steps=10)
    made = step.make_train_step(model, tx, small.OBJECTIVE, trainable=mask, sam=sam, accumulate=accumulate)
    return state.create({"params": params}, mask, tx, seed=0), jax.jit(made)


def loss(params, batch):
    logits = terms.MODEL.apply({"params": params}, batch["inputs"])
    return small.OBJECTIVE(logits, batch["label"], batch["mask"])


@pytest.mark.parametrize("accumulate", [1, 4])
def test_sam_steps_by_the_gradient_at_the_worst_point_nearby(accumulate):
    begun, train_step = training(0.5, accumulate)
    batch, params = terms.batches()["target"], begun.trainable["params"]
    first = jax.grad(loss)(params, batch)
    norm = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(first)))
    there = jax.tree.map(lambda w, g: w + 0.5 * g / norm, params, first)
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(there, batch))
    found, metrics = train_step(begun, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found.trainable["params"], expected)
    assert float(metrics["loss"]) == pytest.approx(float(loss(params, batch)), rel=1e-6)


def test_sam_of_radius_0_is_the_plain_step():
    batch = terms.batches()["target"]
    ends = [train_step(begun, batch)[0].trainable for begun, train_step in (training(), training(0.0))]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    jax.tree.map(np.testing.assert_array_equal, sharpness.ascend(PARAMS, GRADS, 0.0), PARAMS)
    zeros = jax.tree.map(jnp.zeros_like, GRADS)
    jax.tree.map(np.testing.assert_array_equal, sharpness.ascend(PARAMS, zeros, 0.5), PARAMS)


def test_delta_is_the_formula_of_the_transfer_learning_library():
    now, before = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    weights = np.random.default_rng(1).dirichlet(np.ones(6)).astype(np.float32)
    norms = np.linalg.norm((now - before).reshape(3, 20, 6), axis=1) ** 2
    expected = 0.5 * (6 * weights * norms / 20).sum(1)
    found = behaviour.feature_distance(jnp.asarray(now), jnp.asarray(before), jnp.asarray(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    alike = behaviour.feature_distance(jnp.asarray(now), jnp.asarray(before))
    np.testing.assert_allclose(alike, 0.5 * norms.sum(1) / 20, rtol=1e-5)


def test_delta_leaves_out_the_padding_of_texts():
    now, before = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype(np.float32)
    real = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
    found = behaviour.feature_distance(now, before, None, real)
    np.testing.assert_allclose(found[0], behaviour.feature_distance(now[:1, :3], before[:1, :3])[0], rtol=1e-6)


def test_channels_weigh_as_the_loss_grows_without_them():
    growth = np.array([0.1, 0.5, 0.0, 0.2])
    z = (growth - growth.mean()) / growth.std()
    np.testing.assert_allclose(
        attention.weights_of(jnp.asarray(growth)), np.exp(z / 5) / np.exp(z / 5).sum(), rtol=1e-6
    )
    np.testing.assert_allclose(attention.weights_of(jnp.asarray(growth), alpha=0.0), 0.25, rtol=1e-6)


def test_labels_are_told_as_the_sources():
    relation = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    logits = jnp.array([[1.0, 0.0, -1.0], [0.3, 0.2, 0.1]])
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = [-(relation[1] * log_p[0]).sum(), -(relation[0] * log_p[1]).sum()]
    np.testing.assert_allclose(behaviour.translated(logits, jnp.array([1, 0]), relation), expected, rtol=1e-6)
    soft = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(behaviour.translated(logits, soft, relation), expected, rtol=1e-6)


def test_lwf_is_the_divergence_from_the_answers_of_the_sources_head():
    """T² · KL at T = 2 between what the head now says of the features now and what both said at the start."""
    rng = np.random.default_rng(0)
    before, now = rng.normal(size=(2, 4, 3))
    old, new = rng.normal(size=(2, 3, 5))
    source = types.SimpleNamespace(head=lambda kernel, x: x @ kernel, variables=lambda: {"params": {}})
    term = behaviour.lwf(terms.context()._replace(source=lambda: source))
    place = terms.MODEL.stages[-2]
    mask = np.array([1, 1, 0, 1], bool)

    def value(features, kernel):
        batch, outputs = {"target": {"mask": mask}}, {"target": {place: features}}
        view = objectives.View(outputs, batch, {}, None, jax.random.key(0), jnp.int32(0), lambda *_: None)
        view = view._replace(own=kernel, constants=old, initially=lambda stream, places: {places[0]: before})
        mean = term.loss(view)[0]
        return float(mean.value)

    log_p, log_q = (np.log(scipy.special.softmax(x / 2, axis=1)) for x in (before @ old, now @ new))
    expected = 4 * (np.exp(log_p) * (log_p - log_q)).sum(1)[mask].mean()
    assert value(now, new) == pytest.approx(expected, rel=1e-6)
    assert value(before, old) == pytest.approx(0, abs=1e-6)


def test_contrast_is_the_mean_over_positives_of_the_share_among_all_others():
    scores = np.random.default_rng(0).normal(size=(5, 5))
    labels, mask = np.array([0, 1, 0, 0, 1]), np.array([1, 1, 1, 0, 1], bool)
    each = []
    for i in np.flatnonzero(mask):
        others = [j for j in np.flatnonzero(mask) if j != i]
        total = np.log(sum(np.exp(scores[i, j] / 0.5) for j in others))
        same = [j for j in others if labels[j] == labels[i]]
        each.append(-np.mean([scores[i, j] / 0.5 - total for j in same]))
    found = bituning.contrast(jnp.asarray(scores), jnp.asarray(labels), jnp.asarray(mask), 0.5)
    assert float(found) == pytest.approx(np.mean(each), rel=1e-6)


def test_bituning_is_trained_with_a_projector_of_its_own():
    current, train_step = terms.training([("task", {"on": ["source"]}), ("bituning", {"stream": "source", "width": 4})])
    before = current.trainable["aux"]["bituning"]["kernel"]
    current, metrics = train_step(current, terms.batches())
    assert before.shape == (8, 4)
    assert float(metrics["bituning"]) > 0
    assert not bool((current.trainable["aux"]["bituning"]["kernel"] == before).all())


@pytest.mark.parametrize("entry", ["lwf", "cotuning", "ewc"])
def test_terms_of_the_source_need_one(entry):
    with pytest.raises(InputError, match=r"config\.init"):
        objectives.make([entry], terms.context())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("delta", {"stream": "sauce"}), "'delta' needs the stream 'sauce'"),
        (("delta", {"examples": -1}), "examples=-1 of 'delta'"),
        (("bituning", {"temperature": 0}), "temperature=0 of 'bituning'"),
        (("ewc", {"draws": -1}), "draws=-1 of 'ewc'"),
    ],
)
def test_fields_that_make_no_sense_are_one_line(entry, says):
    with pytest.raises(InputError) as error:
        objectives.make([entry], terms.context())
    assert says in str(error.value)
