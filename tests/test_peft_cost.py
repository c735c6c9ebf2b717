"""What a step costs: an adapter is a path beside the kernel, never a merged kernel, so no kernel has a gradient."""

from functools import partial

import jax
import jax.numpy as jnp
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
