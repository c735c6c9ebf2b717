"""What a step costs: an adapter is a path beside the kernel, never a merged kernel, so no kernel has a gradient."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.models import forward

LAYERS, WIDTH, TEXTS, TOKENS = 12, 1024, 8, 512


def flops(trained, rest, model, x):
    """Of one step of Adam over `trained`, as XLA counts them; nothing is run."""
    tx = optax.adam(1e-3)

    def step(trained, state, rest, x):
        def loss(trained):
            return jnp.mean(forward.apply(model, trees.merge(trained, rest), x, train=True)[0] ** 2)

        updates, state = tx.update(jax.grad(loss)(trained), state)
        return optax.apply_updates(trained, updates), state

    given = trained, jax.eval_shape(tx.init, trained), rest, x
    return jax.jit(step).lower(*given).cost_analysis()["flops"]


def test_a_step_of_lora_costs_at_most_seven_tenths_of_a_full_one():
    rates = {"dropout": 0.0, "attention_dropout": 0.0}
    model = models.create("bert_large", 2, depth=LAYERS, width=WIDTH, **rates)
    example = model.example_input(1)
    x = {name: jax.ShapeDtypeStruct((TEXTS, TOKENS), array.dtype) for name, array in example.items()}
    variables = jax.eval_shape(model.init, jax.random.key(0), example)
    sites = peft.sites(model, variables, example)
    whole = flops(variables, {}, model, x)
    dense, attention = 2 * 12 * WIDTH**2 * TEXTS * TOKENS, 4 * TEXTS * TOKENS**2 * WIDTH
    assert whole > 3 * LAYERS * (dense + attention)
    for targets in ("attention/(query|value)", "(attention|mlp)/.*"):
        rows = [(f"layer_.*/{targets}/kernel", "lora", {"rank": 8})]
        begin = partial(peft.init, jax.random.key(1), rows, sites)
        adapters = jax.eval_shape(begin, variables["params"])
        share = flops({"adapters": adapters}, variables, model, x) / whole
        assert share <= 0.70, targets


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(96, name="fc")(x)


def test_the_gradient_of_a_low_rank_path_copies_no_activations():
    """On CPUs: a transposed copy of the output's gradient is slower than the layer that it is of."""
    layer = Layer()
    x = jax.random.normal(jax.random.key(0), (8, 16, 48))
    variables = layer.init(jax.random.key(1), x)
    sites = peft.sites(layer, variables, x)
    adapters = peft.init(jax.random.key(2), [(".*", "lora", {"rank": 4})], sites, variables["params"])
    moved = jax.tree.map(lambda leaf: leaf + 0.1, adapters)

    def loss(adapters, kernel):
        given = {"params": {"fc": {"kernel": kernel, "bias": bias}}, "adapters": adapters}
        with peft.enter(adapters):
            return jnp.sum(nn.gelu(layer.apply(given, x)) ** 2)

    kernel, bias = variables["params"]["fc"]["kernel"], variables["params"]["fc"]["bias"]
    found = jax.jit(jax.grad(loss))
    text = found.lower(moved, kernel).compile().as_text()
    assert not re.search(r"f32\[96,8,16\]\S* (copy|transpose)\(", text)
    (own,) = jax.tree.leaves(moved, is_leaf=lambda node: isinstance(node, dict) and "b" in node)
    gradient = jax.grad(lambda kernel: jnp.sum(nn.gelu(x @ kernel + bias) ** 2))
    change = own["fixed"]["scale"] * own["a"] @ own["b"]
    whole = gradient(kernel + change)
    (moves,) = jax.tree.leaves(found(moved, kernel), is_leaf=lambda node: isinstance(node, dict) and "b" in node)
    np.testing.assert_allclose(moves["b"], own["fixed"]["scale"] * own["a"].T @ whole, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(moves["a"], own["fixed"]["scale"] * whole @ own["b"].T, rtol=2e-4, atol=2e-4)
