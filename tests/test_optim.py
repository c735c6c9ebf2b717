"""Rules → updates: groups, rates, decay, schedules, and what is carried over a border."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.training import optim, state

PARAMS = {"stem": {"kernel": jnp.ones(3), "bias": jnp.ones(2)}, "head": {"kernel": jnp.ones(4)}}
GRADS = jax.tree.map(lambda x: jnp.arange(1.0, 1 + x.size), PARAMS)
PLAIN = {**small.OPTIM, "schedule": "constant", "warmup": 0, "weight_decay": 0.0, "clip": 0.0, "layer_decay": 1.0}


def run(config, steps=3, params=PARAMS, **kwargs):
    tx = optim.make(config, PARAMS, total_steps=10, **kwargs)
    opt_state = tx.init(params)
    grads = trees.select(GRADS, params)
    for _ in range(steps):
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


def by_optax(tx, steps=3):
    params, opt_state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, opt_state = tx.update(GRADS, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6), a, b)


KERNELS = {"stem": {"kernel": True, "bias": False}, "head": {"kernel": True}}


@pytest.mark.parametrize(
    ("config", "tx"),
    [
        ({"weight_decay": 0.1}, optax.adamw(1e-2, weight_decay=0.1, mask=KERNELS)),
        ({"name": "lamb", "weight_decay": 0.1}, optax.lamb(1e-2, weight_decay=0.1, mask=KERNELS)),
        ({"name": "sgd"}, optax.sgd(1e-2, momentum=0.9)),
        ({"name": "lion", "kwargs": {"b1": 0.8}}, optax.lion(1e-2, b1=0.8, weight_decay=0.0)),
        ({"clip": 1.0, "name": "sgd"}, optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2, momentum=0.9))),
        (
            {"name": "sgd", "weight_decay": 0.1},
            optax.chain(optax.add_decayed_weights(0.1, KERNELS), optax.sgd(1e-2, momentum=0.9)),
        ),
        ({"schedule": "cosine"}, optax.adamw(optax.cosine_decay_schedule(1e-2, 10), weight_decay=0.0)),
    ],
)
def test_each_optimizer_is_optax_own(config, tx):
    assert_close(run({**PLAIN, **config}), by_optax(tx))


def test_the_trainable_part_moves_as_in_the_full_tree():
    mask = rules.match([("head/.*", True), (".*", False)], PARAMS)
    config = {**PLAIN, "clip": 0.5, "weight_decay": 0.1}
    part, _ = trees.partition(PARAMS, mask)
    whole = run(config, trainable=mask)
    assert_close(run(config, params=part, trainable=mask), trees.select(whole, part))
    np.testing.assert_array_equal(whole["stem"]["kernel"], PARAMS["stem"]["kernel"])


def test_rates_by_rule():
    config = {**PLAIN, "name": "sgd", "kwargs": {"momentum": 0.0}, "rates": (("head/.*", 10.0), (".*", 1.0))}
    moved = jax.tree.map(lambda a, b, g: (a - b) / g, PARAMS, run(config, steps=1), GRADS)
    np.testing.assert_allclose(moved["head"]["kernel"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(moved["stem"]["kernel"], 0.01, rtol=1e-5)


def scales(paths, stages):
    params = trees.unflatten(dict.fromkeys(paths, 0))
    rates = optim.leaf_rates({"rates": ((".*", 1.0),), "layer_decay": 0.75}, params, stages)
    return sorted(set(trees.flatten(rates).values()))


def test_layer_decay_of_vit_b16_has_fourteen_scales():
    stages = ("embed", *(f"layer_{i}" for i in range(12)), "pool", "head")
    found = scales([f"{stage}/x/kernel" for stage in stages], stages)
    assert len(found) == 14
    assert found[-1] == 1.0
    np.testing.assert_allclose(found[0], 0.0237573, rtol=1e-5)


def test_layer_decay_of_resnet50_has_eighteen_scales():
    blocks = [f"stage{i + 1}/block{j}/conv1/kernel" for i, n in enumerate((3, 4, 6, 3)) for j in range(n)]
    stages = ("stem", "stage1", "stage2", "stage3", "stage4", "pool", "head")
    found = scales(["stem/conv/kernel", *blocks, "head/dense/kernel"], stages)
    np.testing.assert_allclose(found, [0.75**i for i in range(17, -1, -1)])


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_schedules(kind):
    rate = optim.schedule({"lr": 0.2, "schedule": kind, "warmup": 4}, 14)
    np.testing.assert_allclose([rate(i) for i in range(4)], [0.05, 0.1, 0.15, 0.2], rtol=1e-6)
    np.testing.assert_allclose(rate(4), 0.2, rtol=1e-6)
    middle, end = {"constant": (0.2, 0.2), "linear": (0.1, 0.0), "cosine": (0.1, 0.0)}[kind]
    np.testing.assert_allclose([rate(9), rate(14)], [middle, end], atol=1e-7)


def test_moments_of_what_stays_trainable_cross_a_border_bit_for_bit():
    model, variables = small.model_of("resnet"), small.variables_of("resnet")
    specs = ["head/.*", "(stage4|head)/.*", "(stage4|stage3)/.*"]
    masks = [rules.trainable(spec, variables["params"], model.stages) for spec in specs]
    born = optim.trained_since(masks)
    head, train_step = small.training(model, variables, specs[0], trained_since=born[0])
    for _ in range(2):
        head, _ = train_step(head, small.batch_of())

    def transform(i):
        tree = {"params": variables["params"]}
        return optim.make(
            small.OPTIM,
            tree,
            total_steps=9,
            trainable={"params": masks[i]},
            stages=model.stages,
            trained_since={"params": born[i]},
        )

    wider = state.repartition(head, masks[1], transform(1), optim.carry)
    moments, carried = moments_of(head), moments_of(wider)
    assert any("head" in path and leaf.any() for path, leaf in moments.items())
    for path, leaf in moments.items():
        assert leaf.tobytes() == carried[path].tobytes(), path
    fresh = {path: leaf for path, leaf in carried.items() if "stage4" in path}
    assert fresh
    assert not any(leaf.any() for leaf in fresh.values())
    counts = [int(leaf) for path, leaf in carried.items() if path.endswith("count")]
    assert sorted(counts) == [0, 2]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), head.variables(), wider.variables()))

    last = state.repartition(wider, masks[2], transform(2), optim.carry)
    assert not any("head" in path for path in moments_of(last))


def moments_of(state):
    named = jax.tree_util.tree_leaves_with_path(state.opt_state)
    flat = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in named}
    return {path: leaf for path, leaf in flat.items() if "/optimizer/" in path}


def test_errors_name_what_exists():
    with pytest.raises(InputError, match=r"unknown optim\.name 'adamx'; nearest: adam"):
        run({**PLAIN, "name": "adamx"})
    with pytest.raises(InputError, match=r"argument of optax\.sgd .*'momentun'; nearest: momentum"):
        run({**PLAIN, "name": "sgd", "kwargs": {"momentun": 0.9}})
    with pytest.raises(InputError, match=r"unknown optim\.schedule 'cosin'"):
        run({**PLAIN, "schedule": "cosin"})
    with pytest.raises(InputError, match="warmup=10"):
        run({**PLAIN, "warmup": 10})
    with pytest.raises(InputError, match=r"optim\.decay_rules: pattern 'kernels' matches no parameter"):
        run({**PLAIN, "decay_rules": (("kernels", True), (".*", False))})
