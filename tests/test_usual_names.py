"""Losses, schedules, optimizers and tasks by the names that others have for them; the config has ours."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jtransfer import config as configs
from jtransfer import objectives
from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry
from jtransfer.runs import usual_names
from jtransfer.training import optim, schedules

TAKEN = {
    "loss.name": {
        "softmax": "crossentropy cross_entropy cross-entropy ce CE CrossEntropyLoss categorical_crossentropy Softmax",
        "sigmoid": "bce BCEWithLogitsLoss binary_crossentropy binary_cross_entropy",
        "focal": "focal_loss Focal",
        "mse": "MSE l2 MSELoss mean_squared_error",
        "huber": "smooth_l1 SmoothL1Loss HuberLoss",
    },
    "optim.schedule": {
        "onecycle": "one_cycle one-cycle OneCycle OneCycleLR 1cycle",
        "cosine": "cosine_decay CosineAnnealingLR cosine_annealing cosine_with_warmup",
        "linear": "Linear linear_decay linear_schedule_with_warmup",
        "constant": "constant_with_warmup Constant",
    },
    "optim.name": {
        "adam": "Adam ADAM",
        "adamw": "AdamW adamw_torch adam_w",
        "sgd": "SGD momentum",
        "rmsprop": "RMSprop",
    },
    "task": {"classify": "classification", "regress": "regression", "tag": "ner", "lm": "causal-lm"},
}
CASES = [
    (field, alias, name) for field, names in TAKEN.items() for name, known in names.items() for alias in known.split()
]


@pytest.mark.parametrize(("field", "alias", "name"), CASES)
def test_a_usual_name_is_taken_and_told(field, alias, name):
    config = configs.default()
    config.update_from_flattened_dict({field: alias})
    assert configs.complete(config).to_dict() == configs.complete(_with(field, name)).to_dict()
    _, lines = usual_names.settled(configs.fill(config))
    assert lines == [f"config.{field}={alias!r} is taken for {name!r}"]
    assert usual_names.settled(configs.fill(_with(field, name)))[1] == []


def _with(field, value):
    config = configs.default()
    config.update_from_flattened_dict({field: value})
    return config


def test_names_in_lists_and_sections():
    config = configs.default()
    config.objective = ["Task", ("MMD", {"weight": 0.1})]
    config.noise = ("Mix-Out",)
    config.multitask = "PCGrad"
    config.adapters = (("all-linear", "LoRA", {"rank": 2}),)
    config.evals = [configs.evaluation("Split", "test"), configs.evaluation("calibration", "test")]
    config.phases = [configs.phase("p", steps=1, optim={"name": "SGD", "schedule": "OneCycle"})]
    config.streams.other = {"data": {"name": "x"}, "task": "Regression"}
    full = configs.complete(config)
    assert full.objective == ["task", ("mmd", {"weight": 0.1})]
    assert (full.noise, full.multitask) == (("mixout",), "pcgrad")
    assert full.adapters == (("all-linear", "lora", {"rank": 2}),)
    assert [one.name for one in full.evals] == ["split", "calibration"]
    assert full.phases[0].optim.to_dict() == {"name": "sgd", "schedule": "onecycle"}
    assert full.streams.other.task == "regress"
    assert len(usual_names.settled(configs.fill(config))[1]) == 9


def test_a_wrong_name_lists_all_with_the_nearest_first():
    with pytest.raises(InputError, match=r"unknown loss 'hubr'; nearest: huber; others: contrastive, focal, mse, sig"):
        objectives.create("hubr")
    with pytest.raises(InputError, match=r"unknown loss 'crossentropi'; nearest: softmax"):
        objectives.create("crossentropi")
    with pytest.raises(InputError, match=r"unknown optim.schedule 'cosin'; nearest: cosine.*; others: .*onecycle"):
        optim.schedule({"schedule": "cosin", "lr": 1.0, "warmup": 0}, 10)
    params = {"a": jnp.zeros(1)}
    config = {"name": "lionn", "decay_rules": ((".*", True),), "rates": ((".*", 1.0),), "layer_decay": 1.0}
    with pytest.raises(InputError, match=r"unknown optim.name 'lionn'; nearest: lion.*; others: .*adafactor, .*yogi"):
        optim.make({**config, "clip": 0.0}, params, total_steps=1)


def test_an_address_and_a_name_of_ones_own_stay():
    registry = Registry("thing", {"a_b": "optax:sgd", "ab2": "optax:adam"}, {"ab2": ("A-B-2nd",)})
    assert [registry.canonical(name) for name in ("A-B", "ab_2", "ab2nd", "x.py:AB", "none")] == [
        "a_b",
        "ab2",
        "ab2",
        "x.py:AB",
        "none",
    ]
    assert registry["A_B"] is optax.sgd
    assert "A-B" not in registry


def test_aliases_are_of_names_that_there_are():
    for registry in (objectives.LOSSES, schedules.SCHEDULES, optim.optimizers()):
        assert set(registry._folded.values()) == set(registry)


def test_one_cycle_has_the_rates_of_torch():
    """`torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)`, torch 2.13."""
    expected = [0.004, 0.052, 0.1, 0.09504846, 0.08117457, 0.0611262, 0.0388742, 0.01882583, 0.004951937, 4e-7]
    rate = optim.schedule({"schedule": "onecycle", "lr": 0.1, "warmup": 0}, 10)
    np.testing.assert_allclose([rate(step) for step in range(10)], expected, rtol=1e-5, atol=1e-9)
