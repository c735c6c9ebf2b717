"""Gradients of several tasks as one: closed forms, identities, another solver, and what holds of each in a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import test_transfer_terms as terms

from jtransfer import objectives
from jtransfer.core import fields as checks
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.objectives import gradients
from jtransfer.objectives.gradients import METHODS
from jtransfer.training import multitask, optim, state, step
from jtransfer.training.streams import StreamStep

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)


def combined(function, rows, *args):
    """A method's direction for gradients as rows."""
    rows = jnp.asarray(rows, jnp.float32)
    return np.asarray(function(rows @ rows.T, *args) @ rows)


def test_pcgrad_of_two_is_each_less_what_it_has_against_the_other():
    a, b = np.array([1.0, 0.0]), np.array([-1.0, 1.0])  # a·b = -1
    expected = (a + b / 2) + (b + a)  # a − (a·b / b·b) b, b − (a·b / a·a) a
    np.testing.assert_allclose(combined(gradients.projected, [a, b], KEY), expected, atol=1e-6)


def test_pcgrad_of_gradients_without_conflict_is_their_sum():
    for rows in (np.eye(4), np.abs(RANDOM)):
        np.testing.assert_allclose(combined(gradients.projected, rows, KEY), rows.sum(0), rtol=1e-6)


def test_pcgrad_of_several_is_the_loop_of_the_paper_in_some_order():
    found = combined(gradients.projected, RANDOM, KEY)
    orders = [[i, *rest] for i in range(3) for rest in ([j for j in range(3) if j != i],)]
    each = []
    for i, *others in orders:
        ways = []
        for order in (others, others[::-1]):
            g = RANDOM[i].astype(np.float64)
            for j in order:
                g = g - min(g @ RANDOM[j], 0) / (RANDOM[j] @ RANDOM[j]) * RANDOM[j]
            ways.append(g)
        each.append(ways)
    sums = [a + b + c for a in each[0] for b in each[1] for c in each[2]]
    assert min(np.abs(found - one).max() for one in sums) < 1e-5


def test_cagrad_without_c_is_the_mean():
    np.testing.assert_allclose(combined(gradients.averse, RANDOM, 0.0), RANDOM.mean(0), rtol=1e-6)


@pytest.mark.parametrize("c", [0.2, 0.4, 0.9])
@pytest.mark.parametrize("rows", [RANDOM, np.array([[1.0, 0], [-0.5, 0.2]]), RANDOM * [[10], [1], [0.1]]])
def test_cagrad_is_what_another_solver_finds(rows, c):
    tasks = len(rows)

    def value(w):
        return w @ rows @ g0 + radius * np.sqrt(max(w @ gram @ w, 1e-18))

    def slope(w):
        return rows @ g0 + radius * gram @ w / np.sqrt(max(w @ gram @ w, 1e-18))

    rows = rows.astype(np.float64) / np.linalg.norm(rows)
    gram, g0 = rows @ rows.T, rows.mean(0)
    radius = c * np.sqrt(g0 @ g0)
    bounds, total = [(0, 1)] * tasks, {"type": "eq", "fun": lambda w: w.sum() - 1}
    how = {"bounds": bounds, "constraints": total, "jac": slope, "options": {"ftol": 1e-15, "maxiter": 1000}}
    w = scipy.optimize.minimize(value, np.full(tasks, 1 / tasks), **how).x
    gw = w @ rows
    expected = g0 + radius * gw / np.linalg.norm(gw)
    np.testing.assert_allclose(combined(gradients.averse, rows, c), expected, atol=5e-6 if c < 0.9 else 5e-5)


def test_cagrad_leaves_no_task_worse_than_the_mean_does():
    direction = combined(gradients.averse, RANDOM, 0.5)
    assert (RANDOM @ direction).min() >= (RANDOM @ RANDOM.mean(0)).min() - 1e-5


def test_gradnorm_steps_by_the_slope_of_its_loss():
    weights, lengths, ratios = np.array([0.5, 1.5]), np.array([3.0, 1.0]), np.array([0.9, 0.3])
    aims = (weights * lengths).mean() * (ratios / ratios.mean()) ** 1.5

    def value(w):
        return np.abs(w * lengths - aims).sum()

    slope = np.array([(value(weights + d) - value(weights - d)) / 2e-6 for d in np.eye(2) * 1e-6])
    moved = weights - 0.01 * slope
    found = gradients.balanced(*map(jnp.asarray, (weights, lengths, ratios)), alpha=1.5, lr=0.01)
    np.testing.assert_allclose(found, moved * 2 / moved.sum(), rtol=1e-5)


def test_gradnorm_rests_where_all_gradients_are_as_long():
    weights, lengths = jnp.array([4 / 3, 2 / 3]), jnp.array([1.0, 2.0])
    found = gradients.balanced(weights, lengths, jnp.ones(2), alpha=1.5, lr=0.1)
    np.testing.assert_allclose(found, weights, rtol=1e-6)


def training(method, accumulate=1, entries=("task",), lr=0.1):
    made = objectives.make(entries, terms.context())
    params = jax.jit(terms.MODEL.init)(jax.random.key(0), terms.MODEL.example_input())["params"]
    aux = {n: t.init(KEY, {}) for n, t in made.terms.items() if t.init}
    kept = method.begin(len(multitask.tasks(made))) if method else {}
    variables = {"params": params, **({"aux": aux} if aux else {}), **({"multitask": kept} if kept else {})}
    mask = rules.trainable(".*", {k: v for k, v in variables.items() if k != "multitask"}, terms.MODEL.stages)
    changes = {
        "lr": lr,
        "layer_decay": 1.0,
        "weight_decay": 0.0,
        "clip": 0.0,
        "name": "sgd",
        "kwargs": {"momentum": 0.0},
    }
    tx = optim.make(
        terms.small.OPTIM | changes | {"schedule": "constant", "warmup": 0}, mask, total_steps=10, trainable=mask
    )
    streams = {name: StreamStep() for name in ("target", "source")}
    how = {"streams": streams, "accumulate": accumulate, "multitask": method}
    made_step = step.make_train_step(terms.MODEL, tx, made, trainable=mask, **how)
    return state.create(variables, mask, tx, seed=0), jax.jit(made_step)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_the_same_in_one_pass_and_in_parts(name):
    ends = []
    for accumulate in (1, 4):
        current, train_step = training(METHODS[name](), accumulate)
        for _ in range(2):
            current, metrics = train_step(current, terms.batches())
        assert {"multitask/source", "multitask/target"} <= set(metrics)
        ends.append((current.trainable, current.model_state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *ends)


def test_metrics_and_the_sum_of_the_gradients_are_those_of_the_plain_step():
    entries = ["task", ("mcc", 0.5)]
    plain, train_step = training(None, entries=entries)
    _, expected = train_step(plain, terms.batches())
    summed = gradients.Method(lambda seen: (jnp.ones(len(seen.gram)), jnp.ones(len(seen.gram)), seen.state))
    current, of_tasks = training(summed, entries=entries)
    _, found = of_tasks(current, terms.batches())
    for name in expected:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=2e-5), name
    assert {name for name in found if name.startswith("multitask")} == {
        f"multitask/{n}" for n in ("mcc", "source", "target")
    }


def test_learnt_weights_go_to_where_they_are_best():
    current, train_step = training(None, entries=["uncertainty"], lr=0.0)
    _, metrics = train_step(current, terms.batches())
    losses = [float(metrics[f"{name}/loss"]) for name in ("source", "target")]
    assert float(metrics["loss"]) == pytest.approx(sum(losses), rel=1e-6)  # all weights begin at 1

    made = objectives.make(["uncertainty"], terms.context())

    def value(log_variances):
        own = dict(zip(("source", "target"), log_variances, strict=True))
        shares = objectives.terms.values(made.terms["uncertainty"].loss(view(own))[0])
        return shares["source"] + shares["target"]

    view = viewed()
    best = np.log(2 * np.array(losses))  # of exp(−v)·loss + v / 2
    np.testing.assert_allclose(jax.grad(value)(jnp.asarray(best)), 0, atol=1e-6)


def viewed():
    params = jax.jit(terms.MODEL.init)(jax.random.key(0), terms.MODEL.example_input())["params"]
    batches = {name: {**batch, "target": batch["label"]} for name, batch in terms.batches().items()}
    outputs = {n: {"head": terms.MODEL.apply({"params": params}, batch["inputs"])} for n, batch in batches.items()}
    return lambda own: objectives.View(outputs, batches, {}, None, KEY, jnp.int32(0), lambda *_: None, own)


def test_log_variances_are_trained():
    current, train_step = training(None, entries=["uncertainty"])
    for _ in range(3):
        current, metrics = train_step(current, terms.batches())
    moved = current.trainable["aux"]["uncertainty"]
    assert all(abs(float(v)) > 1e-3 for v in moved.values())
    assert float(metrics["source/weight"]) != 1


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("cagrad", {"c": 1.0}, "give a finite number in [0, 1)"),
        (
            "gradnorm",
            {"alpha": -1},
            "alpha=-1 of 'gradnorm' is of no kind that it takes; give a finite number of at least 0",
        ),
    ],
)
def test_fields_that_make_no_sense_are_one_line(name, fields, says):
    with pytest.raises(InputError, match="multitask") as error:
        checks.check("multitask", "multi-task method", name, METHODS[name], fields, skip=0)
    assert says in str(error.value)


def test_one_task_alone_is_refused():
    with pytest.raises(InputError, match="two tasks or more"):
        multitask.tasks(objectives.make(["task"], terms.context(("target",))))
