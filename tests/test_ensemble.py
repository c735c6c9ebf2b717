"""An ensemble as one model: what it computes, its description, and its parts."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from jtransfer import config as configs
from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.models import forward

A, B = {"name": "mlp", "widths": (4,), "num_features": 6}, {"name": "mlp", "widths": (5, 3), "num_features": 6}


@pytest.fixture(scope="module")
def given():
    x = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    return {"a": x, "b": x}


def outputs(params, x):
    parts = params["members"]
    each = [models.create(num_classes=3, **one).apply({"params": parts[name]}, x) for name, one in (("a", A), ("b", B))]
    return np.stack([log_softmax(np.asarray(logits, np.float64), -1) for logits in each]), np.stack(each)


@pytest.mark.parametrize("weights", [(), (1, 3)])
def test_the_mean_of_probabilities_or_logits(given, weights):
    shares = np.array(weights or (1, 1))[:, None, None] / sum(weights or (1, 1))
    for combine in ("probabilities", "logits"):
        model = models.create("ensemble", 3, members={"a": A, "b": B}, combine=combine, weights=weights)
        variables = model.init(jax.random.key(0), given)
        logs, logits = outputs(variables["params"], given["a"])
        mean = (shares * np.exp(logs)).sum(0) if combine == "probabilities" else (shares * logits).sum(0)
        found = np.asarray(forward.apply(model, variables, given)[0])
        np.testing.assert_allclose(np.exp(found) if combine == "probabilities" else found, mean, rtol=1e-5, atol=1e-6)
        assert models.create("ensemble", **model.description()) == model
        assert set(variables["params"]) == {"members"}


def test_a_stack_is_a_layer_on_log_probabilities(given):
    other = {**B, "num_classes": 4}
    model = models.create("ensemble", 3, members={"a": A, "b": other}, combine="stack")
    variables = model.init(jax.random.key(0), given)
    features = model.apply(variables, given, stop="head")
    dense = variables["params"]["head"]["dense"]
    logs = np.concatenate([log_softmax(np.asarray(features[name], np.float64), -1) for name in ("a", "b")], -1)
    np.testing.assert_allclose(
        model.apply(variables, given), logs @ dense["kernel"] + dense["bias"], rtol=1e-5, atol=1e-5
    )
    assert model.stages == ("members", "head")
    assert model.parts_of["b"].stages["head"] == "members/b/head"


def test_a_config_describes_it():
    config = configs.default()
    config.model.name, config.model.fields = "ensemble", {"members": {"a": "resnet18", "b": ""}}
    assert models.parts("ensemble", configs.complete(config).model.fields.to_dict()) == {
        "a": ("resnet18", {}),
        "b": ("", {}),
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"members": {}}, "members: give a dict of models by names"),
        ({"members": {"a b": A}}, "members: 'a b' is no name"),
        ({"members": {"a": A}, "combine": "max"}, "unknown combine 'max'"),
        ({"members": {"a": A}, "weights": (1, 2)}, "a number for each of the 1 members"),
        ({"members": {"a": A, "b": B}, "weights": (1, -2)}, "none below 0"),
        ({"members": {"a": A}, "head": "embed"}, "an ensemble predicts classes"),
        (
            {"members": {"a": A, "b": {**B, "num_classes": 4}}},
            "members.b has 4 classes, not 3; only a stack joins them",
        ),
        ({"members": {"a": A}, "num_classes": 1}, "of models with one output, a number, is always the same"),
        ({"members": {"a": A, "b": "resnet18"}}, "they take inputs of different kinds"),
    ],
)
def test_what_can_not_be_one_is_one_line(fields, says):
    with pytest.raises(InputError, match=says):
        models.create("ensemble", **{"num_classes": 3, **fields})
