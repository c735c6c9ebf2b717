"""Noise in training: closed forms and identities, on models of this package and on modules from elsewhere."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jtransfer import objectives
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.training import noise, optim, state, step

KEY = jax.random.key(0)


class Plain(nn.Module):
    """A module from elsewhere: two batch norms, the second of which stands still."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="moves")(x)
        return nn.BatchNorm(use_running_average=True, use_bias=False, name="stands")(nn.Dense(3, name="fc")(x))


class Reader(nn.Module):
    """Texts from elsewhere: embeddings of tokens and of places."""

    @nn.compact
    def __call__(self, x, train=False):
        places = nn.Embed(5, 8, name="places")(jnp.arange(x["input_ids"].shape[1]))
        return nn.Embed(11, 8, name="word_embeddings")(x["input_ids"]) + places


def of(entries, model, x, trainable=None):
    variables = forward.initialize(model, KEY, x)
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape), variables
    )
    moves = jax.tree.map(lambda _: True, variables["params"]) if trainable is None else trainable
    return noise.make(entries, model, variables, x, moves), variables


def run(noises, model, variables, x, key=KEY, train=True):
    with contextlib.ExitStack() as stack:
        own = noise.around(noises, variables, key, stack)
        own = {name: tree for name, tree in own.items() if name != "initial"}
        return forward.apply(model, own, x, train=train, rngs={"dropout": key}, mutable=["batch_stats"])


X = jax.random.normal(jax.random.key(1), (16, 6)) * 2 + 1


def by_hand(variables, which):
    """The first batch norm with the batch's statistics at some channels, then the rest."""
    stats, params = variables["batch_stats"]["moves"], variables["params"]["moves"]
    mean, var = (jnp.where(which, a, b) for a, b in ((X.mean(0), stats["mean"]), (X.var(0), stats["var"])))
    x = (X - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    x = x @ variables["params"]["fc"]["kernel"] + variables["params"]["fc"]["bias"]
    stats = variables["batch_stats"]["stands"]
    return (x - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5) * variables["params"]["stands"]["scale"]


def test_stochnorm_takes_some_channels_by_the_batch_and_others_by_the_moving_statistics():
    noises, variables = of([("stochnorm", {"p": 0.5})], Plain(), X)
    found, changed = run(noises, Plain(), variables, X)
    ways = [jnp.array([(n >> i) & 1 for i in range(6)], bool) for n in range(1 << 6)]
    distances = [float(jnp.abs(found - by_hand(variables, way)).max()) for way in ways]
    chosen = ways[int(np.argmin(distances))]
    assert min(distances) < 1e-5
    assert 0 < chosen.sum() < 6
    expected = 0.9 * variables["batch_stats"]["moves"]["mean"] + 0.1 * X.mean(0)
    np.testing.assert_allclose(changed["batch_stats"]["moves"]["mean"], expected, rtol=1e-5)
    assert not bool((run(noises, Plain(), variables, X, jax.random.key(7))[0] == found).all())


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_stochnorm_at_its_ends_is_one_kind_of_statistics(p):
    noises, variables = of([("stochnorm", {"p": p})], Plain(), X)
    found, _ = run(noises, Plain(), variables, X)
    if p == 1:
        np.testing.assert_array_equal(found, run([], Plain(), variables, X)[0])
    np.testing.assert_allclose(found, by_hand(variables, jnp.full(6, bool(p))), atol=1e-5)


def test_stochnorm_leaves_a_frozen_model_of_this_package_as_it_is():
    model, variables = small.model_of("resnet"), small.variables_of("resnet")
    x = small.batch_of()["inputs"]
    noises = noise.make(["stochnorm"], model, variables, x, {})
    with contextlib.ExitStack() as stack:
        own = noise.around(noises, variables, KEY, stack)
        found, _ = forward.apply(model, own, x, train=True, rngs={"dropout": KEY}, is_frozen=lambda path: True)
    np.testing.assert_allclose(found, forward.apply(model, variables, x)[0], atol=1e-5)


def test_mixout_is_its_formula_and_its_mean_is_the_weight():
    noises, variables = of([("mixout", {"p": 0.7, "at": ".*/kernel"})], Plain(), X)
    begun = jax.tree.map(jnp.zeros_like, variables["params"])
    begun["fc"]["kernel"] = jnp.ones((6, 3))
    held = {**variables, "initial": begun}
    now = held["params"]["fc"]["kernel"]
    drawn = jnp.stack([noises[0](held, jax.random.key(i))[0]["params"]["fc"]["kernel"] for i in range(400)])
    ends = jnp.stack([(now - 0.7) / 0.3, jnp.ones_like(now)])  # (m·w₀ + (1 − m)·w − p·w₀) / (1 − p)
    assert float(jnp.abs(drawn[:, None] - ends).min(1).max()) < 1e-5
    np.testing.assert_allclose(drawn.mean(0), now, atol=0.6)
    assert abs(float((jnp.abs(drawn - 1) < 1e-6).mean()) - 0.7) < 0.02
    np.testing.assert_array_equal(noises[0](held, KEY)[0]["params"]["fc"]["bias"], held["params"]["fc"]["bias"])


@pytest.mark.parametrize("entry", [("mixout", {"p": 0.0, "at": ".*"}), ("mixout", {"p": 0.9, "at": ".*"})])
def test_mixout_changes_nothing_without_chance_or_before_the_first_step(entry):
    noises, variables = of([entry], Plain(), X)
    held = {**variables, "initial": variables["params"]}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), noises[0](held, KEY)[0], held)


def test_neftune_is_uniform_on_real_tokens_by_the_length_of_the_text():
    x = {
        "input_ids": jnp.arange(12).reshape(3, 4) % 11,
        "attention_mask": jnp.array([[1] * 4, [1] * 2 + [0] * 2, [1] * 4]),
    }
    noises, variables = of([("neftune", {"alpha": 5.0})], Reader(), x)
    plain, _ = run([], Reader(), variables, x)
    drawn = jnp.stack([run(noises, Reader(), variables, x, jax.random.key(i))[0] - plain for i in range(100)])
    for row, length in enumerate((4, 2, 4)):
        bound = 5 / np.sqrt(length * 8)
        added = np.asarray(drawn[:, row, :length])
        assert 0.99 * bound < np.abs(added).max() < 1.001 * bound
        assert added.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
        np.testing.assert_allclose(drawn[:, row, length:], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("entry", "model", "says"),
    [
        ("neftune", Plain(), "'neftune' is for models with Embed, and this one has none"),
        ("stochnorm", Reader(), "'stochnorm' is for models with BatchNorm, and this one has none"),
        (("neftune", {"at": "fc"}), Reader(), "matches none of the model's Embed: places, word_embeddings"),
        (("stochnorm", {"p": 1.5}), Plain(), "p=1.5 must be from 0 to 1"),
        (("mixout", {"p": 1}), Plain(), "p=1 must be from 0 to 1, below 1"),
        (("mixout", {"at": "nothing"}), Plain(), "pattern 'nothing' matches no parameter"),
        (("stochnorm", {"q": 1}), Plain(), "unknown field of the noise 'stochnorm': 'q'"),
        (("stochnorm", {"at": "("}), Plain(), "is not a regular expression"),
        (("neftune", {"alpha": -1}), Reader(), "alpha=-1 must be a number, 0 or more"),
        ("stochnrom", Plain(), "unknown noise 'stochnrom'; nearest: stochnorm"),
        ((1, 2, 3), Plain(), "is neither"),
    ],
)
def test_what_is_wrong_is_one_line(entry, model, says):
    x = (
        X
        if isinstance(model, Plain)
        else {"input_ids": jnp.zeros((2, 4), int), "attention_mask": jnp.ones((2, 4), int)}
    )
    with pytest.raises(InputError) as error:
        of([entry], model, x)
    assert says in str(error.value)


def test_mixout_waits_for_the_phase_that_trains_what_it_is_on():
    variables = forward.initialize(Plain(), KEY, X)
    still, moves = (jax.tree.map(lambda _, v=v: v, variables["params"]) for v in (False, True))
    (waiting,) = noise.make([("mixout", {"at": "fc/kernel"})], Plain(), variables, X, still, moves)
    held = {**variables, "initial": jax.tree.map(jnp.zeros_like, variables["params"])}
    assert waiting(held, KEY)[0] is held


def test_mixout_of_what_is_frozen_is_refused():
    still = jax.tree.map(lambda _: False, forward.initialize(Plain(), KEY, X)["params"])
    with pytest.raises(InputError, match="no parameter that at='fc/kernel' matches is trained"):
        of([("mixout", {"at": "fc/kernel"})], Plain(), X, still)


@pytest.mark.parametrize("family", ["resnet", "lite"])
def test_a_step_of_each_family_takes_the_noise_and_a_term_of_the_initial_network(family):
    """Traced alone: values are those of the tests above and of the terms'."""
    model, variables = small.model_of(family), small.variables_of(family)
    variables = {
        **variables,
        "initial": variables["params"],
        "initial_state": {"batch_stats": variables["batch_stats"]},
    }
    mask = rules.trainable(".*", variables["params"], model.stages)
    tx = optim.make(small.OPTIM, {"params": variables["params"]}, total_steps=2, stages=model.stages)
    streams = {"target": objectives.Stream(small.OBJECTIVE, lambda *_: {})}
    total = objectives.make(["task", "delta", "bss"], objectives.Context(model, streams, 2))
    noises = noise.make(["stochnorm", ("mixout", {"p": 0.5})], model, variables, model.example_input(1), mask)
    made = step.make_train_step(model, tx, total, trainable=mask, accumulate=2, noise=noises)
    begun = jax.eval_shape(lambda: state.create(variables, mask, tx, seed=0))
    _, metrics = jax.eval_shape(made, begun, small.batch_of())
    assert {"delta", "bss", "loss"} <= set(metrics)
