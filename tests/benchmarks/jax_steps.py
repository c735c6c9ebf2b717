"""Our side of `step_speed`: one function per kind of step, compiled once, its state donated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from step_speed import texts

from jtransfer import models
from jtransfer.core.compiler_memory import give_back_after_compiling


def make(case):
    """A function without arguments that runs `case` once and waits for the result."""
    give_back_after_compiling()
    rates = {"dropout": case.dropout, "attention_dropout": case.dropout} if case.is_text else {}
    model = models.create(case.model, num_classes=case.classes, **rates)
    rng = np.random.default_rng(0)
    x = texts(rng, case) if case.is_text else rng.standard_normal((case.batch, case.size, case.size, 3), np.float32)
    x = jax.tree.map(jnp.asarray, x)
    labels = jnp.asarray(rng.integers(0, case.classes, case.batch))
    variables = filled(rng, jax.eval_shape(model.init, jax.random.key(0), model.example_input()))
    return {"forward": forward, "full": full, "head": head_only, "cached": cached}[case.kind](
        model, variables, x, labels
    )


def filled(rng, shapes):
    """Arrays for the shapes; the initialisers' own peak of memory is none of a step."""

    def fill(leaf):
        return jnp.asarray(0.02 * rng.standard_normal(leaf.shape, np.float32) if leaf.ndim > 1 else np.ones(leaf.shape))

    return jax.tree.map(lambda leaf: fill(leaf).astype(leaf.dtype), shapes)


def forward(model, variables, x, labels):
    apply = jax.jit(model.apply)
    return lambda: jax.block_until_ready(apply(variables, x))


def full(model, variables, x, labels):
    def loss_fn(params, stats, rng, x, labels):
        given = {"params": params, **stats}
        logits, stats = model.apply(given, x, train=True, mutable=list(stats), rngs={"dropout": rng})
        return cross_entropy(logits, labels), stats

    def step(params, stats, opt_state, *inputs):
        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, stats, *inputs)
        updates, opt_state = optimizer().update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), stats, opt_state), loss

    stats = dict(variables)
    params = stats.pop("params")
    return repeat(step, (params, stats, optimizer().init(params)), jax.random.key(1), x, labels)


def head_only(model, variables, x, labels):
    def step(head, opt_state, backbone, x, labels):
        features = model.apply(backbone, x, stop="head")
        return head_step(model, head, opt_state, features, labels)

    head, backbone = split(variables)
    return repeat(step, (head, optimizer().init(head)), backbone, x, labels)


def cached(model, variables, x, labels):
    def step(head, opt_state, features, labels):
        return head_step(model, head, opt_state, features, labels)

    head, backbone = split(variables)
    features = jax.jit(lambda backbone, x: model.apply(backbone, x, stop="head"))(backbone, x)
    return repeat(step, (head, optimizer().init(head)), features, labels)


def head_step(model, head, opt_state, features, labels):
    def loss_fn(head):
        return cross_entropy(model.apply({"params": head}, features, start="head"), labels)

    loss, grads = jax.value_and_grad(loss_fn)(head)
    updates, opt_state = optimizer().update(grads, opt_state, head)
    return (optax.apply_updates(head, updates), opt_state), loss


def repeat(step, state, *inputs):
    """A function that runs `state, loss = step(*state, *inputs)` on and on and waits for each loss."""
    compiled = jax.jit(step, donate_argnums=tuple(range(len(state)))).lower(*state, *inputs).compile()

    def run():
        nonlocal state
        state, loss = compiled(*state, *inputs)
        return float(loss)

    return run


def split(variables):
    params = dict(variables["params"])
    head = {"head": params.pop("head")}
    return head, {**variables, "params": params}


def optimizer():
    return optax.sgd(1e-3, momentum=0.9)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
