"""What "frozen" means: six rungs, each for every family."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from orbax.checkpoint import v1 as ocp

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.layers.frozen import freeze, frozen_modules
from jtransfer.training import checkpoint, optim, state, step

FAMILIES = list(small.MODELS)
LAST = {"resnet": "(stage4|head)/.*", "vgg": "(fc|head)/.*", "lite": "(stage7|conv_head|head)/.*"}


@functools.cache
def trained(family, name="adamw"):
    """The state before and after three steps with weight decay, momentum, clipping, EMA and accumulation."""
    model = small.model_of(family)
    before, train_step = small.training(model, small.variables_of(family), LAST[family], name=name, accumulate=2)
    after, batch = before, small.batch_of()
    for _ in range(3):
        after, metrics = train_step(after, batch)
    assert np.isfinite(metrics["loss"])
    return model, before, after


def assert_same_bits(a, b):
    flat, other = trees.flatten(a), trees.flatten(b)
    assert flat.keys() == other.keys()
    for path, leaf in flat.items():
        assert np.asarray(leaf).tobytes() == np.asarray(other[path]).tobytes(), path


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_1_the_update_is_zero(family, name):
    if name == "sgd" and family != "resnet":
        pytest.skip("one family is enough for a second optimizer")
    _, before, after = trained(family, name)
    assert_same_bits(before.frozen, after.frozen)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before.trainable, after.trainable)
    kernels = [moves for path, moves in trees.flatten(moved).items() if path.endswith("kernel")]
    assert all(kernels)
    averaged = jax.tree.map(lambda a, b: bool((a != b).any()), after.ema, after.trainable)
    assert any(jax.tree.leaves(averaged))


@pytest.mark.parametrize("family", FAMILIES)
def test_2_there_are_no_moments(family):
    _, _, after = trained(family)
    arrays = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim]
    assert sum(a.size for a in arrays) == 2 * trees.count(after.trainable)
    assert trees.count(after.ema) == trees.count(after.trainable)


class Mlp(nn.Module):
    stages = (*(f"layer_{i}" for i in range(12)), "head")

    @nn.compact
    def __call__(self, x, *, train=False, start=None, stop=None):
        for i in range(12):
            x = nn.relu(nn.Dense(512, name=f"layer_{i}")(x))
        return nn.Dense(10, name="head")(x)


@functools.cache
def mlp_flops(spec, clip=0.0, accumulate=1):
    model = Mlp()
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 512)))
    mask = rules.trainable(spec, variables["params"], model.stages)
    changes = {**small.OPTIM, "clip": clip, "warmup": 0}
    tx = optim.make(changes, variables, total_steps=9, trainable={"params": mask}, stages=model.stages)
    begun = jax.eval_shape(lambda v: state.create(v, mask, tx, seed=0), variables)
    batch = {"inputs": jnp.zeros((256, 512)), "label": jnp.zeros(256, jnp.int32), "mask": jnp.ones(256, bool)}
    train_step = step.make_train_step(model, tx, small.OBJECTIVE, trainable=mask, accumulate=accumulate)
    return jax.jit(train_step).lower(begun, batch).compile().cost_analysis()["flops"]


def test_3_no_gradient_is_computed():
    forward = 2 * 256 * 12 * 512 * 512
    assert mlp_flops(".*") > 2.9 * forward
    assert mlp_flops("head/.*") < 1.05 * forward


@pytest.mark.parametrize("extra", [{"clip": 1.0}, {"accumulate": 4, "clip": 1.0}])
def test_3_clipping_and_accumulation_cost_nothing_on_the_frozen_part(extra):
    if "accumulate" in extra:  # the cost analysis counts a scan's body once, whatever its length
        assert mlp_flops("head/.*", **extra) <= 1.05 * mlp_flops("head/.*") / extra["accumulate"] + 1e6
    else:
        assert mlp_flops("head/.*", **extra) < 1.01 * mlp_flops("head/.*")


def test_3_the_full_tree_of_an_importer_is_served_by_the_same_transform():
    model = Mlp()
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 512)))["params"]
    mask = rules.trainable("head/.*", params, model.stages)
    tx = optim.make(small.OPTIM, params, total_steps=9, trainable=mask, stages=model.stages)
    x = jnp.ones((256, 512))

    def update(params, opt_state):
        grads = jax.grad(lambda p: model.apply({"params": p}, x).var())(params)
        return tx.update(grads, opt_state, params)

    compiled = jax.jit(update).lower(params, tx.init(params)).compile()
    assert compiled.cost_analysis()["flops"] < 1.1 * 2 * 256 * 12 * 512 * 512
    updates, _ = compiled(params, tx.init(params))
    assert all(not leaf.any() for path, leaf in trees.flatten(updates).items() if not path.startswith("head"))


@pytest.mark.parametrize("family", FAMILIES)
def test_4_it_is_stored_in_the_compute_dtype(family):
    model = small.model_of(family, dtype=jnp.bfloat16)
    variables = small.variables_of(family)
    now = rules.trainable("head/.*", variables["params"], model.stages)
    later = rules.trainable(LAST[family], variables["params"], model.stages)
    begun = state.create(variables, now, optax.identity(), seed=0)
    cast = trees.flatten(state.cast_frozen(begun, later, model.dtype).frozen)
    kept = trees.flatten(later)
    for path, leaf in cast.items():
        collection, _, name = path.partition("/")
        exact = collection == "batch_stats" or kept[name]
        assert leaf.dtype == (jnp.float32 if exact else jnp.bfloat16), path


@pytest.mark.parametrize("family", FAMILIES)
def test_5_it_is_written_once(family, tmp_path):
    _, _, after = trained(family)
    base = checkpoint.write_base(tmp_path, "only", after.frozen)
    position = {"phase": "only", "base": base}
    with checkpoint.open_checkpoints(tmp_path, every=1) as checkpoints:
        checkpoint.save(checkpoints, 3, after, position)
    saved = {part: ocp.metadata(tmp_path / "checkpoints/3", part).metadata for part in ("state", "optimizer")}
    held = {path.split("/", 1)[1] for path in trees.flatten(saved["state"]) if path.count("/") > 1}
    assert held.isdisjoint(trees.flatten(after.frozen))
    size = trees.nbytes([leaf for leaf in jax.tree.leaves(saved) if hasattr(leaf, "shape")])
    moving = trees.nbytes([after.trainable, after.ema, after.model_state, after.opt_state])
    assert size <= moving + 16
    assert_same_bits(checkpoint.load_params(tmp_path), after.variables(average=True))
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), after)
    assert_same_bits(checkpoint.restore(tmp_path, 3, like, position).variables(), after.variables())


@pytest.mark.parametrize("family", FAMILIES)
def test_6_batch_statistics_stand_still_where_all_is_frozen(family):
    _, before, after = trained(family)
    assert "batch_stats" in before.frozen
    assert_same_bits(before.frozen["batch_stats"], after.frozen["batch_stats"])
    if before.model_state:
        moved = jax.tree.map(lambda a, b: bool((a != b).all()), before.model_state, after.model_state)
        assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("family", FAMILIES)
def test_6_a_frozen_prefix_computes_the_same_in_training(family):
    model, variables = small.model_of(family), small.variables_of(family)
    mask = rules.trainable("head/.*", variables["params"], model.stages)
    x = small.batch_of()["inputs"]

    @jax.jit
    def features(variables, x):
        with freeze(frozen_modules(mask)):
            return model.apply(variables, x, train=True, stop="head", rngs={"dropout": jax.random.key(0)})

    still = features(variables, x)
    np.testing.assert_array_equal(still, jax.jit(lambda v, x: model.apply(v, x, stop="head"))(variables, x))


class Foreign(nn.Module):
    """A user's module that decides in the constructor, not at call time."""

    train: bool

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.train, name="bn")(x)
        return nn.Dense(2, name="head")(nn.Dropout(0.5, deterministic=not self.train)(x))


def test_6_modules_that_decide_in_the_constructor_are_held_still_too():
    x = jax.random.normal(jax.random.key(0), (8, 3))
    variables = Foreign(train=False).init(jax.random.key(0), x)
    frozen = {"bn": {"scale": False, "bias": False}, "head": {"kernel": False, "bias": False}}
    with freeze(frozen_modules(frozen)):
        out, updated = Foreign(train=True).apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_array_equal(out, Foreign(train=False).apply(variables, x))
    assert_same_bits(updated["batch_stats"], variables["batch_stats"])


def test_a_trained_batch_norm_in_a_frozen_stage_moves():
    is_frozen = frozen_modules({"stem": {"conv": {"kernel": False}, "bn": {"scale": False, "bias": True}}})
    assert is_frozen(("stem", "conv"))
    assert not is_frozen(("stem", "bn"))
    assert not is_frozen(("stem", "Dropout_0"))
    assert not is_frozen(())
