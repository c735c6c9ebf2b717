"""How LoRA's kin are trained: how many numbers, their rates, dropout, AdaLoRA's budget in a run."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_vectors
from adapted import adapters_of, jitted, variables_of
from test_peft import shapes_of, trained
from test_peft_lora import made, moved

from jtransfer import config as configs
from jtransfer import models, objectives, optim, peft, runs, train
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.peft import adalora
from jtransfer.training import state, step

DROP = {"dropout": 0.5}


@pytest.mark.parametrize(
    ("name", "pattern", "method", "count"),
    [
        ("bert_base", "(layer_.*|pool)/.*kernel", "lora", 1_339_392),
        ("bert_base", "layer_.*/(query|value)/kernel", "dora", 313_344),
        ("bert_base", "layer_.*/(query|value)/kernel", "lora_fa", 147_456),  # the half that is `b`
        ("vit_base_patch16", ".*/(query|value)/kernel", "lora", 294_912),  # as a fused qkv, whose three share one `a`
        ("vit_base_patch16", "layer_.*/(attention/out|fc1|fc2)/kernel", "lora", 1_179_648 - 294_912),
        ("resnet50", "stage4/block./conv./kernel", "lora", 237_568),
    ],
)
def test_counts_are_those_of_peft(name, pattern, method, count):
    assert trained(shapes_of(models.create(name, 2), [(pattern, method, {"rank": 8})])) == count


def test_lora_plus_is_a_table_of_rates():
    _, _, variables, adapters = made("dense", "lora")
    tree = {"params": variables["params"], "adapters": adapters}
    config = configs.default().optim
    config.name, config.lr, config.schedule, config.rates = "sgd", 0.5, "constant", peft.lora_plus(8)
    tx = optim.make(config, tree, total_steps=4)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, tree), tx.init(tree), tree)
    own = updates["adapters"]["layer"]["lora"]
    np.testing.assert_allclose(own["b"] / own["a"][0, 0], 8)


def test_dropout_is_of_the_side_path_in_training_alone():
    model, x, variables, _ = made("dense", "lora")
    sites = peft.sites(model, variables, x)
    for method in ("lora", "dora"):
        row = ("layer", method, {"rank": 2, "dropout": 0.5})
        adapters = moved(peft.init(jax.random.key(0), [row], sites, variables["params"]))
        plain = trees.unflatten({p: leaf for p, leaf in trees.flatten(adapters).items() if not p.endswith("dropout")})
        full = {**variables, "adapters": adapters}
        without, _ = forward.apply(model, {**variables, "adapters": plain}, x)
        np.testing.assert_array_equal(forward.apply(model, full, x)[0], without)
        drawn = jax.vmap(lambda key, v=full: forward.apply(model, v, x, train=True, rngs={"dropout": key})[0])
        means = drawn(jax.random.split(jax.random.key(1), 2000)).mean(0)
        np.testing.assert_allclose(means, without, atol=0.2)
        assert np.abs(drawn(jax.random.split(jax.random.key(1), 2))[0] - without).max() > 0.01


def test_adapters_that_are_frozen_drop_nothing_in_training():
    dropping = [name for name in peft.METHODS if "dropout" in inspect.signature(peft.METHODS[name].init).parameters]
    assert {"lora", "dora", "vera", "bottleneck", "parallel", "reft"} < set(dropping)
    model, x = models.create("mlp", 3, num_features=6, widths=(6,) * (len(dropping) + 1)), jnp.ones((4, 6))
    variables = variables_of(model, x)
    sites = peft.sites(model, variables, x)
    rows = [(f"hidden{i}/dense", name, DROP) for i, name in enumerate(dropping, 1)]
    fused = adapters_of(sites, {}, [(f"hidden{len(rows) + 1}/dense", "bottleneck", DROP)])
    adapters = adapters_of(sites, variables["params"], rows) | peft.fuse(jax.random.key(5), {"de": fused, "fr": fused})
    variables = {**variables, "adapters": adapters}
    batch = {"inputs": x, "label": jnp.arange(4) % 3, "mask": jnp.ones(4, bool)}
    loss, tx = objectives.create("softmax"), optax.sgd(0.1)
    still = loss(jitted(lambda v: forward.apply(model, v, x)[0])(variables), batch["label"], batch["mask"])

    def of_training(spec):
        mask = rules.trainable(spec, {name: variables[name] for name in ("params", "adapters")}, model.stages)
        begun = state.create(variables, mask, tx, seed=0)
        return jitted(step.make_train_step(model, tx, loss, trainable=mask))(begun, batch)[1]["loss"]

    np.testing.assert_allclose(of_training("head/.*"), still, rtol=1e-6)
    np.testing.assert_allclose(of_training(".*/fusion/value"), still, rtol=1e-6)  # its bottlenecks are frozen
    assert abs(of_training(".*/lora/b") - still) > 5e-5  # one of its arrays is trained


def test_only_b_of_lora_fa_is_differentiated():
    model, x, variables, adapters = made("dense", "lora_fa")
    assert set(adapters["layer"]["lora_fa"]) == {"b", "fixed"}
    slope = jax.grad(lambda a: forward.apply(model, {**variables, "adapters": a}, x)[0].sum())(adapters)
    assert np.abs(slope["layer"]["lora_fa"]["b"]).max() > 0.01


def test_outputs_without_a_kernel_yet_are_trained_with_dora():
    model, x, variables, _ = made("dense", "lora")
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    rows, sites = [("layer", "dora", {"rank": 2})], peft.sites(model, variables, x)
    adapters = peft.init(jax.random.key(0), rows, sites, params)

    def total(adapters):
        return forward.apply(model, {"params": params, "adapters": adapters}, x)[0].sum()

    assert total(adapters) == 0
    slopes = jax.grad(total)(adapters)["layer"]["dora"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert np.abs(slopes["b"]).max() > 0.01


def test_factors_of_adalora_are_kept_orthogonal():
    a, b = jnp.eye(4)[:, :2], jnp.asarray([[3.0, 0], [0, 1]])
    own = {"a": a, "b": b, "e": jnp.zeros(2), "fixed": {"scale": jnp.ones(())}}
    view = objectives.View({}, {}, {"adapters": {"layer": {"adalora": own}}}, None, None, 0, None)
    loss = adalora.orthogonality(None).loss
    np.testing.assert_allclose(loss(view)[0], (0 + 8) / 2)  # ‖aᵀa − 1‖ = 0, ‖b·bᵀ − 1‖ = 8
    slopes = jax.grad(lambda own: loss(view._replace(variables={"adapters": {"layer": {"adalora": own}}}))[0])(own)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def config_of(folder, **fields):
    config = tiny_vectors.config_of(folder)
    config.adapters = [("hidden.*/kernel", "adalora", {"rank": 6, "target_rank": 2, "begin": 1, "end": 2, **fields})]
    config.objective = [("task", 1.0), ("adapter_orthogonality", 0.5)]
    config.phases = [
        configs.phase("head", trainable="head/.*", steps=2),
        configs.phase("adapted", trainable="(adapters|head)/.*", steps=3),
        configs.phase("more", trainable="(adapters|head)/.*", steps=3),
    ]
    return config


def test_a_run_spends_the_budget_of_adalora_over_its_phases(tmp_path):
    train.run(config_of(tmp_path), tmp_path / "run")
    adapters = runs.open(tmp_path / "run").variables()["adapters"]
    left = [np.count_nonzero(own["adalora"]["e"]) for own in (adapters[s]["dense"] for s in ("hidden1", "hidden2"))]
    assert sum(left) == 2 * 2


def test_a_budget_that_can_not_be_spent_is_one_line(tmp_path):
    with pytest.raises(InputError, match="begin=1 and end=9 needs more than the 6 steps that train adapters"):
        train.run(config_of(tmp_path, end=9), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    rows = [("a", "adalora", {}), ("b", "adalora", {"beta1": 0.5})]
    with pytest.raises(InputError, match="share one budget; give them the same beta1"):
        peft.optimizer(rows, None, 100)


@pytest.mark.parametrize(
    ("method", "fields", "says"),
    [
        ("lora", {"rank": 2.5}, "rank=2.5 of 'lora' is of no kind"),
        ("lora", {"rank": True}, "rank=True of 'lora' is of no kind"),
        ("lora", {"rank": 10**9}, "rank=1000000000 must be a whole number, from 1 to 4096"),
        ("lora", {"alpha": 0}, "alpha=0 must be a number above 0"),
        ("lora", {"alpha": float("nan")}, "alpha=nan of 'lora' is of no kind"),
        ("lora", {"dropout": "x"}, "dropout='x' of 'lora' is of no kind"),
        ("lora", {"start": "pisa"}, "unknown start of an adapter: 'pisa'; nearest: pissa"),
        ("dora", {"rank": 5, "start": "pissa"}, "start='pissa' needs a rank of at most 4, not 5"),
        ("adalora", {"rank": 4, "target_rank": 5}, "target_rank=5 must be a whole number, from 1 to 4"),
        ("adalora", {"every": 0}, "every=0 must be a whole number"),
        ("adalora", {"begin": -1}, "begin=-1 must be a number of steps"),
        ("adalora", {"beta1": 1.0}, "beta1=1.0 must be at least 0 and below 1"),
    ],
)
def test_a_field_that_can_not_be_is_one_line(method, fields, says):
    model, x, variables, _ = made("dense", "lora")
    with pytest.raises(InputError, match=says):
        peft.init(jax.random.key(0), [("layer", method, fields)], peft.sites(model, variables, x), variables["params"])
