"""Distillation's functions: torch's values, identities, and what a term does in a training step."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_transfer_terms as transfer

from jtransfer import models, objectives
from jtransfer.core import rules
from jtransfer.core.errors import InputError
from jtransfer.objectives import distillation, taught
from jtransfer.training import state, step
from jtransfer.training.streams import StreamStep

VALUES = json.loads((Path(__file__).parent / "references/distillation.json").read_text())
ROWS, CLASSES = np.arange(6)[:, None], np.arange(7)[None]
STUDENT, TEACHER = 2 * np.sin(0.5 * ROWS + 1.7 * CLASSES), 2 * np.cos(0.8 * ROWS + 1.1 * CLASSES)
OTHER = 1.5 * np.sin(0.6 * ROWS - 0.9 * CLASSES)


def maps(side, channels, scale):
    n = np.arange(2 * channels * side * side)
    return np.sin(scale * n).reshape(2, channels, side, side).transpose(0, 2, 3, 1)


def top(k, temperature):
    log_p = jax.nn.log_softmax(jnp.asarray(TEACHER) / temperature)
    values, indices = jax.lax.top_k(log_p, k)
    return distillation.top_targets(jnp.asarray(STUDENT), values, indices, temperature=temperature)


def mean_of_two(temperature):
    log_p = distillation.log_mean([jnp.asarray(TEACHER), jnp.asarray(OTHER)], (1.0, 3.0), temperature=temperature)
    return distillation.divergence(jnp.asarray(STUDENT), log_p, temperature=temperature)


FOUND = {
    "kd at 4": lambda: distillation.soft_targets(STUDENT, TEACHER, temperature=4.0),
    "kd at 1": lambda: distillation.soft_targets(STUDENT, TEACHER, temperature=1.0),
    "mean of two at 2": lambda: mean_of_two(2.0),
    "top 2 at 1": lambda: top(2, 1.0),
    "top 3 at 2": lambda: top(3, 2.0),
    "answers at 3": lambda: distillation.soft_answers(STUDENT, [TEACHER], temperature=3.0),
    "attention": lambda: distillation.attention_transfer(maps(4, 3, 0.3), maps(4, 5, 0.2)),
    "pooled attention": lambda: distillation.attention_transfer(
        *distillation.of_one_size(maps(4, 3, 0.3), maps(8, 5, 0.2))
    ),
    "relations": lambda: distillation.relations(STUDENT, TEACHER),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_torchs(name):
    assert float(jnp.mean(FOUND[name]())) == pytest.approx(VALUES[name], rel=2e-6)


def test_all_classes_as_the_top_are_all_classes():
    np.testing.assert_allclose(top(7, 2.0), distillation.soft_targets(STUDENT, TEACHER, temperature=2.0), atol=1e-5)
    assert np.all(np.asarray(top(2, 2.0)) <= np.asarray(top(7, 2.0)) + 1e-6)


@pytest.mark.parametrize("k", [1, 7])
def test_a_student_like_its_teacher_has_no_loss_and_no_slope(k):
    values, indices = jax.lax.top_k(jax.nn.log_softmax(jnp.asarray(TEACHER)), k)
    value, slope = jax.value_and_grad(lambda z: distillation.top_targets(z, values, indices).sum())(
        jnp.asarray(TEACHER)
    )
    assert float(value) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-5)


def test_a_teacher_that_is_certain_gives_finite_slopes():
    certain = jnp.asarray([[1e4, 0.0, -1e4]])
    values, indices = jax.lax.top_k(jax.nn.log_softmax(certain), 2)
    for loss in (
        lambda z: distillation.soft_targets(z, certain, temperature=1.0).sum(),
        lambda z: distillation.top_targets(z, values, indices).sum(),
        lambda z: distillation.soft_answers(z, [certain]).sum(),
    ):
        for student in ([[0.0, 1.0, 2.0]], [[1e4, 0.0, -1e4]], [[-1e4, 0.0, 1e4]]):
            value, slope = jax.value_and_grad(loss)(jnp.asarray(student))
            assert np.isfinite(value)
            assert np.isfinite(slope).all()


def test_a_map_that_is_no_multiple_is_resized():
    ours, theirs = distillation.of_one_size(maps(4, 3, 0.3), maps(7, 5, 0.2))
    assert ours.shape == (2, 4, 4, 3)
    assert theirs.shape == (2, 4, 4, 5)
    constant, _ = distillation.of_one_size(np.ones((1, 7, 6, 2)), np.ones((1, 4, 5, 2)))
    np.testing.assert_allclose(constant, 1, rtol=1e-6)


def test_tokens_find_what_was_told_of_them_wherever_they_stand():
    """A teacher with other tokens between those that have a label tells the same of the same labels."""
    theirs = jnp.asarray([[-1, 4, -1, -1, 2, 5, -1], [-1, 1, -1, 3, -1, -1, -1]])
    logits = theirs[..., None] * jnp.ones(3) * 10
    wanted = objectives.Wanted("big", "target")
    told = taught.condensed({"head": logits}, theirs, wanted, by_token=True)
    ours = jnp.asarray([[4, -1, 2, 5, 6, -1], [-1, -1, 1, -1, 3, -1], [1, -1, -1, -1, -1, -1]])
    told = {name: jnp.concatenate([x, x[:1]]) for name, x in told.items()}
    at, real = taught.of_labels(told, ours, jnp.asarray([True, True, False]))
    expected = [
        [1, 0, 1, 1, 0, 0],
        [0, 0, 1, 0, 1, 0],
        [0] * 6,
    ]  # the teacher's text has no fourth word: it was cut off
    np.testing.assert_array_equal(real, np.array(expected, bool))
    np.testing.assert_array_equal(
        np.asarray(at["values"])[..., 0][np.asarray(real)], 10 * np.asarray(ours)[np.asarray(real)]
    )


TEACHERS = {"big": objectives.Teacher(("body", "pool", "head"), lambda stage: {"pool": (1, 12), "head": (1, 3)}[stage])}
CONTEXT = transfer.context()._replace(teachers={**TEACHERS, "other": TEACHERS["big"]})
LAST = transfer.MODEL.stages[-2]


def lessons():
    """What two teachers told of the target's examples."""
    x = np.sin(np.arange(8 * 12)).reshape(8, 12).astype(np.float32)
    big, other = {"pool": {"values": x}, "head": {"values": 3 * x[:, :3]}}, {"head": {"values": 2 * x[:, 3:6]}}
    values, indices = jax.lax.top_k(jax.nn.log_softmax(3 * x[:, :3] / 2), 2)
    return {"big": {**big, "head top 2 at 2.0": {"values": values, "indices": indices}}, "other": other}


def training(entries, accumulate=1):
    made = objectives.make(entries, CONTEXT)
    model = transfer.MODEL
    params = jax.jit(model.init)(jax.random.key(0), model.example_input())["params"]
    outputs = jax.eval_shape(lambda: model.apply({"params": params}, jnp.zeros((8, 6)), outputs=model.stages))
    shapes = dict.fromkeys(("target", "source"), outputs)
    aux = {n: t.init(jax.random.key(3), shapes) for n, t in made.terms.items() if t.init}
    variables = {"params": params, **({"aux": aux} if aux else {})}
    mask = rules.trainable(".*", variables, model.stages)
    changes = {"lr": 0.1, "layer_decay": 1.0, "weight_decay": 0.0, "clip": 0.0, "name": "sgd"}
    tx = transfer.optim.make(transfer.small.OPTIM | changes, mask, total_steps=10, trainable=mask)
    streams = {name: StreamStep() for name in ("target", "source")}
    made_step = step.make_train_step(model, tx, made, trainable=mask, streams=streams, accumulate=accumulate)
    return state.create(variables, mask, tx, seed=0), jax.jit(made_step)


TERMS = {
    "kd": ("kd", {"teacher": "big"}),
    "several": ("kd", {"teacher": ["big", "other"], "weights": [1, 2], "temperature": 2.0}),
    "top": ("kd", {"teacher": "big", "top": 2, "temperature": 2.0}),
    "hint": ("hint", {"teacher": "big"}),
    "rkd": ("rkd", {"teacher": "big"}),
}


@pytest.mark.parametrize("name", TERMS)
def test_each_term_learns_and_trains_alike_in_one_pass_and_in_parts(name):
    ends = []
    for accumulate in (1, 4):
        current, train_step = training([TERMS[name]], accumulate)
        given = transfer.batches()
        given["target"]["teacher"] = lessons()
        values = []
        for _ in range(3):
            current, metrics = train_step(current, given)
            values.append(float(metrics["loss"]))
        assert values == sorted(values, reverse=True)
        ends.append(current.trainable)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *ends)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("kd", {"teacher": "small"}), "'kd' needs the teacher 'small'; config.teachers has big, other"),
        (("kd", {"teacher": "ema"}), "the teacher 'ema' needs optim.ema, such as 0.999, which is 0"),
        (
            ("kd", {"teacher": "big", "temperature": 0}),
            "temperature=0 of 'kd' is of no kind that it takes; give a finite number above 0",
        ),
        (
            ("hint", {"teacher": "big", "at": "hiden0"}),
            "unknown stage that the objective term 'hint' looks at: 'hiden0'; nearest: hidden2",
        ),
        (("kd", {"teacher": ["big", "other"], "weights": [1]}), "give one each"),
        (("kd", {"teacher": ["big", "other"], "top": 2}), "top=2 is for one teacher's classes"),
        (("kd", {"teacher": "big", "stream": "more"}), "'kd' needs the stream 'more'"),
        (("hint", {"teacher": "big", "teacher_at": "pol"}), "unknown stage of the teacher 'big' 'pol'; nearest: pool"),
        (("kd_chunks", {"teacher": "big"}), "'kd_chunks' is for language models"),
    ],
)
def test_what_is_wrong_is_one_line(entry, says):
    with pytest.raises(InputError) as error:
        objectives.make([entry], CONTEXT)
    assert says in str(error.value)


@pytest.mark.parametrize("predicts", ["classes", "number"])
def test_answers_and_numbers_are_learnt_too(predicts):
    """The loss is 0 at the mean of two teachers alone."""
    streams = {name: one._replace(predicts=predicts) for name, one in CONTEXT.streams.items()}
    entry = ("kd", {"teacher": ["big", "other"], "weights": [3, 1], "temperature": 2.0})
    term = objectives.make([entry], CONTEXT._replace(streams=streams)).terms["kd"]
    given = lessons()
    big, other = given["big"]["head"]["values"], given["other"]["head"]["values"]
    mean = 0.75 * big + 0.25 * other
    if predicts == "classes":
        p = 0.75 / (1 + np.exp(-big / 2)) + 0.25 / (1 + np.exp(-other / 2))
        mean = 2 * (np.log(p) - np.log1p(-p))

    def loss(logits):
        batch = {"target": {"teacher": given, "mask": np.arange(8) < 7}}
        view = objectives.View({"target": {"head": jnp.asarray(logits)}}, batch, {}, None, None, 0, None)
        return float(term.loss(view)[0].value)

    assert loss(mean) == pytest.approx(0, abs=1e-6)
    assert loss(mean + 0.1) > 1e-5
    assert loss(np.where(np.arange(8)[:, None] < 7, mean, 1e3)) == pytest.approx(0, abs=1e-6)  # of padding


def test_attention_compares_maps_of_any_size():
    context = CONTEXT._replace(teachers={"big": objectives.Teacher(("stage1", "head"), lambda stage: (1, 8, 8, 5))})
    context = context._replace(model=models.create("resnet18", 3))
    term = objectives.make([("attention", {"teacher": "big", "at": "stage1"})], context).terms["attention"]
    told = {"big": {"stage1": {"values": maps(8, 5, 0.2)}}}

    def value(student):
        batch = {"target": {"teacher": told, "mask": np.ones(2, bool)}}
        view = objectives.View({"target": {"stage1": jnp.asarray(student)}}, batch, {}, None, None, 0, None)
        return float(term.loss(view)[0].value)

    assert value(maps(4, 3, 0.3)) == pytest.approx(VALUES["pooled attention"], rel=1e-6)
    with pytest.raises(InputError, match="'attention' compares maps"):
        value(np.ones((2, 4)))


@pytest.mark.parametrize(("predicts", "says"), [("", "take 'hint' or 'rkd'"), ("number", "top=2 is for one teacher's")])
def test_what_a_stream_predicts_decides(predicts, says):
    streams = {name: one._replace(predicts=predicts) for name, one in CONTEXT.streams.items()}
    with pytest.raises(InputError, match=says):
        objectives.make([("kd", {"teacher": "big", "top": 2})], CONTEXT._replace(streams=streams))
