"""On eight devices, each term of the objective is what it is on one: statistics are those of the whole batch.

Of the eight examples of a stream, each device holds one, so that a statistic of a device's own part is another one.
"""

import adapted
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
import test_transfer_terms as terms

from jtransfer import models, objectives, peft
from jtransfer.core import rules, sharding
from jtransfer.models import forward
from jtransfer.training import optim, state, step
from jtransfer.training.streams import StreamStep

STEPS, STREAMS = 5, ("target", "source")
TRAINED = ("params", "aux", "adapters")


class Normed(nn.Module):
    """Blocks with a batch norm each, of which the first is frozen."""

    @nn.compact
    def __call__(self, x, train=False):
        for name in ("first", "second", "third"):
            x = nn.Dense(16, name=name)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name=f"{name}_norm")(x))
        return nn.Dense(3, name="head")(x)


KD = {"kd": {"teacher": "big"}, "rkd": {"teacher": "big"}}
TEACHER = objectives.Teacher(("body", "head"), lambda stage: {"body": (1, 12), "head": (1, 3)}[stage])
MLP = models.create("mlp", 3, num_features=6, widths=(8, 8), dropout=0.2)
THIRD = {"at": "third_norm"}
CASES = {  # name → model, terms, what is trained, adapters, sharding
    "all terms": (MLP, {name: {} for name in (*terms.WITH_PAIRS, *terms.ALONE)} | KD, ".*", [], "replicate"),
    "frozen parts and adapters": (
        Normed(),
        {"dann": THIRD, "mmd": THIRD, "jan": THIRD, "coral": THIRD, "l2sp": {}, "kd": {"teacher": "big"}},
        "(second.*|head|aux|adapters)/.*",
        [("third/kernel", "lora", {"rank": 2})],
        "fsdp",
    ),
}


def batch():
    def one(key, shift):
        inputs = jax.device_get(jax.random.normal(jax.random.key(key), (8, 6))) + np.float32(shift)
        return {"inputs": inputs, "label": np.arange(8) % 3, "mask": np.arange(8) != 5}

    told = np.sin(np.arange(8 * 12)).reshape(8, 12).astype(np.float32)
    teacher = {"big": {"body": {"values": told}, "head": {"values": 3 * told[:, :3]}}}
    return {"target": one(1, 0.5) | {"teacher": teacher}, "source": one(2, 0.0)}


def metrics_of(case, devices):
    """The metrics of five steps, the values of the terms among them."""
    model, fields, trained, rows, table = CASES[case]
    stages = forward.stages(model)
    x = jnp.zeros((8, 6))
    stream = objectives.Stream(objectives.create("softmax"), lambda *_: {}, predicts="class")
    context = objectives.Context(model, dict.fromkeys(STREAMS, stream), 10, teachers={"big": TEACHER})
    objective = objectives.make(
        [("task", {"on": ["source"]}), *((n, {"weight": 0.2, **f}) for n, f in fields.items())], context
    )
    variables = dict(jax.jit(model.init)(jax.random.key(0), x[:1]))
    outputs = jax.eval_shape(
        lambda: forward.apply(model, variables, x, outputs=stages or (*objective.features, "head"))[0]
    )
    shapes = dict.fromkeys(STREAMS, outputs)
    variables["aux"] = {n: t.init(jax.random.key(3), shapes) for n, t in objective.terms.items() if t.init}
    if rows:
        sites = peft.sites(model, variables, x)
        variables["adapters"] = peft.init(jax.random.key(4), rows, sites, variables["params"])
    variables["initial"] = jax.tree.map(jnp.copy, variables["params"])
    mask = rules.trainable(trained, {n: tree for n, tree in variables.items() if n in TRAINED}, stages)
    changes = {"lr": 0.01, "layer_decay": 1.0, "weight_decay": 0.0, "clip": 0.0, "name": "sgd", "kwargs": {}}
    tx = optim.make(small.OPTIM | changes, mask, total_steps=10, trainable=mask)
    read = dict.fromkeys(STREAMS, StreamStep())
    train_step = adapted.jitted(step.make_train_step(model, tx, objective, trainable=mask, streams=read))
    mesh = sharding.make_mesh({"data": devices}, jax.devices()[:devices])
    begun = state.create(variables, mask, tx, seed=0)
    now = jax.jit(lambda s: s, out_shardings=sharding.of_state(begun, mesh, table))(begun)
    given, found = sharding.put_batch(batch(), mesh), []
    for _ in range(STEPS):
        now, metrics = train_step(now, given)
        found.append(jax.device_get(metrics))
    return {name: np.array([one[name] for one in found]) for name in found[0]}


@pytest.mark.parametrize("case", CASES)
def test_eight_devices_give_the_terms_of_one(case):
    alone, found = metrics_of(case, 1), metrics_of(case, 8)
    assert found.keys() == alone.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, alone[name], rtol=1e-5, atol=1e-5, err_msg=name)
    assert len(set(found["loss"].tolist())) == STEPS
