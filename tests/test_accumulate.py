"""A batch that is seen in parts gives the loss, the metrics and the update of the batch that is seen at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jtransfer import models, objectives, sharding, state, step
from jtransfer.core import tree as trees
from jtransfer.objectives import Term, task
from jtransfer.tasks import TASKS
from jtransfer.training import mixing
from jtransfer.training.streams import Head, StreamStep

B, N, D, C = 16, 5, 6, 3
RNG = np.random.default_rng(0)
MODEL = models.create("mlp", C, num_features=D, widths=(8,))
NUMBER, TOKENS = MODEL.clone(num_classes=1), nn.Dense(C)
WEIGHTS = (0.2, 3.0, 1.0)


def vectors(labels, size=B):
    mask = np.arange(size) < size - 3
    inputs = RNG.normal(size=(size, D)).astype(np.float32) * np.linspace(0.2, 4, size, dtype=np.float32)[:, None]
    return {"inputs": inputs, "label": labels, "index": np.arange(size), "mask": mask}


def texts():
    """Of every length from none to all tokens, one text is padding."""
    labels = RNG.integers(0, C, (B, N)).astype(np.int32)
    labels[np.arange(N) >= (np.arange(B) % (N + 1))[:, None]] = -1
    inputs = RNG.normal(size=(B, N, D)).astype(np.float32) * 3
    return {"inputs": inputs, "label": labels, "index": np.arange(B), "mask": np.arange(B) < B - 1}


CLASSES = vectors(RNG.choice(C, B, p=(0.7, 0.2, 0.1)).astype(np.int32))
SEVERAL = vectors((RNG.random((B, C)) < 0.3).astype(np.float32))
NUMBERS = vectors(RNG.normal(size=B).astype(np.float32))
PAIRS = {**vectors(np.zeros(B, np.int32)), "inputs": RNG.normal(size=(B, 2, D)).astype(np.float32)}
OTHER = vectors(RNG.integers(0, 2, B // 2).astype(np.int32), B // 2)
TEXTS = texts()


def stay(context):
    """A function of the parameters alone."""

    def loss(view):
        size = sum(jnp.sum(x**2) for x in jax.tree.leaves(view.variables["params"]))
        return size, {"size": size}

    return Term(loss)


def confidence(context):
    """The mean of each example's own, said so."""

    def loss(view):
        log_p = jax.nn.log_softmax(view.outputs["target"]["head"])
        each = (jnp.exp(log_p) * log_p).sum(-1)
        mean = objectives.mean_of(each, view.batch["target"]["mask"])
        return mean, {"entropy": mean}

    return Term(loss)


def unsaid(context):
    """The mean of each example's own over the real ones, not said so."""

    def loss(view):
        log_p = jax.nn.log_softmax(view.outputs["target"]["head"])
        value = jnp.mean((jnp.exp(log_p) * log_p).sum(-1), where=view.batch["target"]["mask"])
        return value, {"entropy": -value}

    return Term(loss)


def covariance(context):
    """What no example has by itself: the covariance of a layer's outputs."""

    def loss(view):
        x = view.outputs["target"]["hidden1"]
        x = x - x.mean(0)
        value = jnp.sum((x.T @ x / len(x)) ** 2)
        return value, {"covariance": value}

    return Term(loss, needs=("features:hidden1",))


def apart(context):
    """The distance of two streams, and a pass of the term's own."""

    def loss(view):
        target, other = (view.outputs[name]["hidden1"].mean(0) for name in ("target", "other"))
        again = view.forward(view.batch["other"]["inputs"][::2], view.key)
        return jnp.sum((target - other) ** 2) + jnp.square(again).mean(), {}

    return Term(loss, needs=("features:hidden1",))


def hinge(logits, labels):
    """A user's loss: a number for each example, of which nothing more is known."""
    return jnp.maximum(0.0, 1.0 - logits[:, 0]) + jnp.square(logits - logits.mean(0)).sum(-1)


def loss_of(name, task="classify", **fields):
    return TASKS[task].objective(objectives.as_sums(objectives.create(name, **fields)))


def one(name, task="classify", terms=(), **fields):
    """One stream, and more terms beside the task's loss."""
    return objectives.Stream(loss_of(name, task, **fields), TASKS[task].accuracy), terms


class Pairs(nn.Module):
    """[B, 2, D] → [2·B, 4], as an encoder of pairs gives them."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(4)(x).reshape(-1, 4)


CASES = {
    "classes": (MODEL, CLASSES, one("softmax")),
    "class weights": (MODEL, CLASSES, one("softmax", class_weights=WEIGHTS, label_smoothing=0.1)),
    "focal": (MODEL, CLASSES, one("focal", class_weights=WEIGHTS)),
    "several classes": (MODEL, SEVERAL, one("sigmoid", "multi_label", class_weights=WEIGHTS)),
    "numbers": (NUMBER, NUMBERS, one("huber", "regress")),
    "tags": (TOKENS, TEXTS, one("softmax", "tag", class_weights=WEIGHTS)),
    "what comes next": (TOKENS, TEXTS, one("softmax", "lm", label_smoothing=0.1)),
    "text to text": (TOKENS, TEXTS, one("focal", "seq2seq")),
    "pairs": (Pairs(), PAIRS, one("contrastive", "embed", symmetric=True)),
    "mixup": (MODEL, CLASSES, one("softmax", class_weights=WEIGHTS)),
    "a user's loss": (MODEL, CLASSES, one(f"{__file__}:hinge")),
    "terms": (MODEL, CLASSES, one("softmax", terms=(stay, confidence))),
    "terms of the whole batch": (MODEL, CLASSES, one("softmax", terms=(stay, unsaid, confidence, covariance))),
}


def trained(model, batch, streams, terms, accumulate, mix=None, aux=None):
    """(metrics, how the parameters move) of a step of gradient descent at a rate of 1."""
    context = objectives.Context(model, streams, 1)
    made = {"task": task.task(context), **{term.__name__: term(context) for term in terms}}
    weights = {name: (lambda step: 1.0) if name == "task" else (lambda step: 0.3) for name in made}
    x = batch["inputs"] if "inputs" in batch else batch["target"]["inputs"]
    variables = {"params": model.init(jax.random.key(0), x[:1])["params"], **(aux or {})}
    mask = jax.tree.map(lambda _: True, variables)
    reads = {name: StreamStep(mix=mix) for name in streams}
    if aux:
        reads["other"] = StreamStep(head=Head("other", model.clone(num_classes=2)))
    total, tx = objectives.Objective(made, weights), optax.sgd(1.0)
    train_step = step.make_train_step(model, tx, total, trainable=mask, streams=reads, accumulate=accumulate)
    begun = state.create(variables, mask, tx, seed=0)
    ended, metrics = jax.jit(train_step)(begun, batch)
    moves = jax.tree.map(jnp.subtract, ended.trainable, begun.trainable)
    return jax.device_get(metrics), trees.flatten(jax.device_get(moves))


def same(one, other):
    (metrics, moves), (others, other_moves) = one, other
    assert set(metrics) == set(others)
    for name, value in metrics.items():
        np.testing.assert_allclose(others[name], value, rtol=2e-6, atol=1e-7, err_msg=name)
    size = np.sqrt(sum(np.sum(move**2) for move in moves.values()))
    off = np.sqrt(sum(np.sum((move - other_moves[path]) ** 2) for path, move in moves.items()))
    assert size > 0
    assert off <= 1e-6 * size


@pytest.mark.parametrize("name", CASES)
def test_parts_are_the_whole(name):
    model, batch, (stream, terms) = CASES[name]
    mix = mixing.mixer(C, mixup=0.4) if "mixup" in name else None
    whole = trained(model, batch, {"target": stream}, terms, 1, mix)
    for accumulate in (2, 8) if name in ("tags", "terms of the whole batch") else (4,):
        same(whole, trained(model, batch, {"target": stream}, terms, accumulate, mix))


def streams_of(**weights):
    """Two streams, of which the second has a head and a weight of its own."""
    target, _ = one("softmax", class_weights=WEIGHTS)
    other, _ = one("focal", class_weights=WEIGHTS[:2])
    aux = {"aux": {"heads": {"other": {"dense": {"kernel": RNG.normal(size=(8, 2)).astype(np.float32)}}}}}
    aux["aux"]["heads"]["other"]["dense"]["bias"] = np.ones(2, np.float32)
    return {"target": target, "other": other._replace(weight=0.3)}, aux


@pytest.mark.parametrize("terms", [(), (apart,)], ids=["task", "apart"])
def test_parts_of_several_streams_are_the_whole(terms):
    streams, aux = streams_of()
    batch = {"target": CLASSES, "other": OTHER}
    whole = trained(MODEL, batch, streams, terms, 1, aux=aux)
    same(whole, trained(MODEL, batch, streams, terms, 4, aux=aux))
    assert {"target/loss", "other/loss", "other/accuracy"} <= set(whole[0])


@pytest.mark.parametrize("name", ["tags", "terms of the whole batch", "pairs"])
def test_parts_over_eight_devices_are_the_whole_on_one(name):
    model, batch, (stream, terms) = CASES[name]
    mesh = sharding.make_mesh({"data": -1})
    assert mesh.size == 8
    whole = trained(model, batch, {"target": stream}, terms, 1)
    same(whole, trained(model, sharding.put_batch(batch, mesh), {"target": stream}, terms, 2))


def test_tokens_count_alike_by_hand():
    """A dense layer over the tokens of texts of uneven lengths: softmax minus label, over all tokens of the batch."""
    x, labels = TEXTS["inputs"], TEXTS["label"]
    params = jax.device_get(TOKENS.init(jax.random.key(0), x[:1])["params"])
    logits = x.astype(np.float64) @ params["kernel"] + params["bias"]
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    real = (labels >= 0) & TEXTS["mask"][:, None]
    errors = (probs - np.eye(C)[labels]) * real[..., None] / real.sum()
    losses = -np.log(np.take_along_axis(probs, labels[..., None], -1)[..., 0])
    stream, _ = one("softmax", "lm")
    for accumulate in (1, 4, 16):
        metrics, moves = trained(TOKENS, TEXTS, {"target": stream}, (), accumulate)
        assert metrics["loss"] == pytest.approx(losses[real].mean(), rel=1e-6)
        assert metrics["accuracy"] == pytest.approx((probs.argmax(-1) == labels)[real].mean(), rel=1e-6)
        np.testing.assert_allclose(-moves["params/kernel"], np.einsum("bnd,bnc->dc", x, errors), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(-moves["params/bias"], errors.sum((0, 1)), rtol=1e-5, atol=1e-7)


def flops(terms, loss, accumulate):
    """Of a compiled step; the analysis counts what is done for a part once, whatever the number of parts."""
    model, tx = models.create("mlp", C, num_features=D, widths=(64, 64)), optax.sgd(1.0)
    variables = {"params": model.init(jax.random.key(0), CLASSES["inputs"][:1])["params"]}
    mask = jax.tree.map(lambda _: True, variables)
    made = objectives.Objective(
        {"task": task.task(objectives.Context(model, {"target": loss}, 1)), **{t.__name__: t(None) for t in terms}},
        {name: lambda step: 1.0 for name in ("task", *(t.__name__ for t in terms))},
    )
    train_step = step.make_train_step(model, tx, made, trainable=mask, accumulate=accumulate)
    begun = state.create(variables, mask, tx, seed=0)
    return jax.jit(train_step).lower(begun, CLASSES).compile().cost_analysis()["flops"]


def test_only_what_is_of_the_whole_batch_costs_a_second_pass_forwards():
    stream, _ = one("softmax")
    once = flops((), stream, 4)
    assert once <= 0.35 * flops((), stream, 1)
    assert flops((stay,), stream, 4) <= 1.3 * once
    assert flops((unsaid,), stream, 4) >= 1.2 * once
