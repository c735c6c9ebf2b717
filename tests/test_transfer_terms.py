"""Terms of transfer: values of the fields' own libraries, identities, and what holds of each in a training step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jtransfer import models, objectives
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.objectives import adversarial, confusion, distillation, mmd, moments
from jtransfer.training import optim, state, step
from jtransfer.training.streams import StreamStep

ROWS, COLUMNS, CLASSES = np.arange(6)[:, None], np.arange(4)[None], np.arange(3)[None]
SOURCE = np.sin(1.1 * (ROWS + 1) * (COLUMNS + 1) + 0.7 * COLUMNS)
TARGET = np.cos(0.9 * (ROWS + 1) * (COLUMNS + 2) - 0.4 * COLUMNS) + 0.3
MAIN_SOURCE, MAIN_TARGET = 2 * np.sin(0.5 * ROWS + 1.7 * CLASSES), 2 * np.cos(0.8 * ROWS + 1.1 * CLASSES)
OTHER_SOURCE, OTHER_TARGET = 1.5 * np.sin(0.6 * ROWS - 0.9 * CLASSES), 1.5 * np.cos(0.3 * ROWS - 1.9 * CLASSES)
SHIFT = 2 / 5  # what the Transfer Learning Library adds to its discrepancies of six examples


def mdd():
    agreement = -4 * adversarial.disparity(jnp.asarray(MAIN_SOURCE), jnp.asarray(OTHER_SOURCE)).mean()
    return agreement + adversarial.disagreement(jnp.asarray(MAIN_TARGET), jnp.asarray(OTHER_TARGET)).mean()


def jmmd():
    layers = [(SOURCE, TARGET), (jax.nn.softmax(MAIN_SOURCE), jax.nn.softmax(MAIN_TARGET))]
    return mmd.joint_mmd(layers, alphas=[(0.5, 1, 2), ()], sigmas=[None, 0.92]) + SHIFT


FIXTURES = {
    "MK-MMD": (lambda: mmd.mk_mmd(SOURCE, TARGET) + SHIFT, 0.0819591073148781),
    "MMD of one kernel": (lambda: mmd.mk_mmd(SOURCE, TARGET, alphas=(1.0,)) + SHIFT, 0.2945879978275462),
    "JMMD": (jmmd, 0.28352723241856104),
    "CORAL": (lambda: moments.coral(SOURCE, TARGET), 0.01894801792943343),
    "CORAL with means": (lambda: moments.mean_coral(SOURCE, TARGET), 0.12215221815695662),
    "MCC": (lambda: confusion.minimum_class_confusion(MAIN_TARGET), 0.6064482890904276),
    "MDD": (mdd, -5.774842274613937),
    "AFN": (lambda: moments.feature_norm(SOURCE).mean(), 1.0),
    "BSS of 1": (lambda: moments.bss(SOURCE), 0.821214921889012),
    "BSS of 2": (lambda: moments.bss(SOURCE, k=2), 3.9736226836443),
    "BSP": (lambda: moments.bsp(SOURCE, TARGET), 10.530587561261237),
    "KD": (lambda: distillation.soft_targets(MAIN_SOURCE, MAIN_TARGET).mean(), 1.860693256837452),
    "entropy": (lambda: confusion.entropy(MAIN_TARGET).mean(), 0.6542407117379162),
    "information": (lambda: confusion.information(MAIN_TARGET), 0.3638860534031224),
    "nuclear norm": (lambda: confusion.nuclear_norm(MAIN_TARGET), 0.47890335407621537),
    "reversal at 1/4": (lambda: adversarial.warm_up(jnp.int32(25), 100), 0.84828363996),
    "reversal at 1/2": (lambda: adversarial.warm_up(jnp.int32(50), 100), 0.98661429815),
    "reversal of another form": (lambda: adversarial.warm_up(jnp.int32(25), 100, gamma=1.0), 0.12435300177),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_values_are_those_of_the_reference(name):
    found, expected = FIXTURES[name]
    assert float(found()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def padded(x):
    return np.concatenate([x, np.full((2, x.shape[1]), 1e3)])


MASK = np.arange(8) < 6
MASKED = {
    "mmd": (lambda s, t, m: mmd.mk_mmd(s, t, (m, m))),
    "coral": (lambda s, t, m: moments.coral(s, t, (m, m))),
    "bsp": (lambda s, t, m: moments.bsp(s, t, (m, m))),
    "mcc": (lambda s, t, m: confusion.minimum_class_confusion(t, m)),
    "information": (lambda s, t, m: confusion.information(t, m)),
    "nuclear": (lambda s, t, m: confusion.nuclear_norm(t, m)),
    "relations": (lambda s, t, m: distillation.relations(s, t, m)),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_stands_under_a_mask_does_not_matter(name):
    found = MASKED[name](padded(SOURCE), padded(TARGET), MASK)
    assert float(found) == pytest.approx(float(MASKED[name](SOURCE, TARGET, None)), rel=1e-5)


def test_the_reversed_gradient_is_the_negative_one():
    x = jnp.arange(3.0)
    forwards, slope = jax.value_and_grad(lambda x: (adversarial.reverse(x, jnp.float32(0.3)) ** 2).sum())(x)
    assert float(forwards) == 5
    np.testing.assert_allclose(slope, -0.3 * 2 * x, rtol=1e-6)


def test_a_high_temperature_distils_the_difference_of_centred_logits():
    slope = jax.grad(lambda z: distillation.soft_targets(z, jnp.asarray(MAIN_TARGET), temperature=1e3).sum())
    centred = (x - x.mean(1, keepdims=True) for x in (MAIN_SOURCE, MAIN_TARGET))
    first, second = centred
    np.testing.assert_allclose(slope(jnp.asarray(MAIN_SOURCE)), (first - second) / 3, atol=5e-3)


def test_domains_that_are_the_same_are_at_no_distance():
    assert float(moments.coral(SOURCE, SOURCE)) == 0
    both = np.concatenate([SOURCE, SOURCE])
    assert float(mmd.mk_mmd(both, both)) < 0  # unbiased: below zero for the pairs of an example and its copy


MODEL = models.create("mlp", 3, num_features=6, widths=(8, 8))
WITH_PAIRS = ("afn", "bsp", "cdan", "coral", "dann", "jan", "mcd", "mdd", "mmd")
ALONE = ("bnm", "bss", "entropy", "infomax", "l2sp", "mcc", "rdrop")


def batches(size=8):
    def one(seed, shift):
        inputs = jax.random.normal(jax.random.key(seed), (size, 6)) + shift
        return {"inputs": inputs, "label": jnp.arange(size) % 3, "mask": jnp.arange(size) < size - 1}

    return {"target": one(1, 1.0), "source": one(2, 0.0)}


def context(names=("target", "source")):
    loss = objectives.create("softmax")
    return objectives.Context(MODEL, {n: objectives.Stream(loss, lambda *_: {}) for n in names}, 10)


def training(entries, accumulate=1, lr=0.1):
    made = objectives.make(entries, context())
    params = jax.jit(MODEL.init)(jax.random.key(0), MODEL.example_input())["params"]
    outputs = jax.eval_shape(lambda: MODEL.apply({"params": params}, jnp.zeros((8, 6)), outputs=MODEL.stages))
    shapes = dict.fromkeys(("target", "source"), outputs)
    aux = {n: t.init(jax.random.key(3), shapes) for n, t in made.terms.items() if t.init}
    variables = {"params": params, **({"aux": aux} if aux else {})}
    variables |= {"initial": jax.tree.map(jnp.copy, params)} if "initial" in made.needs else {}
    mask = rules.trainable(".*", {k: v for k, v in variables.items() if k != "initial"}, MODEL.stages)
    changes = {"lr": lr, "layer_decay": 1.0, "weight_decay": 0.0, "clip": 0.0, "name": "sgd", "kwargs": {}}
    tx = optim.make(small.OPTIM | changes, mask, total_steps=10, trainable=mask)
    streams = {name: StreamStep() for name in ("target", "source")}
    made_step = step.make_train_step(MODEL, tx, made, trainable=mask, streams=streams, accumulate=accumulate)
    return state.create(variables, mask, tx, seed=0), jax.jit(made_step)


@pytest.mark.parametrize("name", WITH_PAIRS + ALONE)
def test_each_term_trains_alike_in_one_pass_and_in_parts(name):
    if name == "rdrop":
        pytest.skip("its second pass draws for each part anew")
    ends = []
    for accumulate in (1, 4):
        current, train_step = training([("task", {"on": ["source"]}), (name, 0.5)], accumulate)
        for _ in range(2):
            current, metrics = train_step(current, batches())
        assert np.isfinite(float(metrics[name]))
        ends.append(current.trainable)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *ends)


def test_l2sp_begins_at_its_weight_on_new_parameters_alone():
    current, train_step = training([("l2sp", {"beta": 2.0})], lr=0.0)
    _, metrics = train_step(current, batches())
    head = current.trainable["params"]["head"]
    assert float(metrics["loss"]) == pytest.approx(sum(float((x**2).sum()) for x in jax.tree.leaves(head)), rel=1e-5)


def test_labels_of_the_target_do_not_matter_where_the_task_is_on_the_source():
    ends = []
    for shift in (0, 1):
        current, train_step = training([("task", {"on": ["source"]}), "dann"])
        given = batches()
        given["target"]["label"] = (given["target"]["label"] + shift) % 3
        current, metrics = train_step(current, given)
        assert not any("target" in name or name == "accuracy" for name in metrics)
        ends.append(current.trainable)
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("dann", "'dann' needs the stream 'source'; config.streams has none"),
        (("task", {"on": ["sauce"]}), "'task' needs the stream 'sauce'"),
        (("mmd", {"source": "target"}), "compares two streams; source and target both are 'target'"),
        (("mmd", {"alpha": 1}), "unknown field of the objective term 'mmd': 'alpha'; nearest: alphas"),
    ],
)
def test_what_is_wrong_is_one_line(entry, says):
    with pytest.raises(InputError) as error:
        objectives.make([entry], context(("target",)))
    assert says in str(error.value)
