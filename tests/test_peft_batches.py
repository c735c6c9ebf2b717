"""Adapters that change from call to call and from example to example, without compiling anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_peft_lora import moved

from jtransfer import models, peft
from jtransfer.core.errors import InputError
from jtransfer.models import forward


@pytest.fixture(scope="module")
def bert():
    """(model, variables, input [6, …], adapters of three ranks)."""
    fields = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32, "vocab_size": 40}
    model = models.create("bert_base", 3, **fields)
    ids = jax.random.randint(jax.random.key(0), (6, 8), 0, 40)
    x = {**model.example_input(6), "input_ids": ids, "attention_mask": jnp.ones_like(ids)}
    x = {name: leaf[:, :8] for name, leaf in x.items()}
    variables = jax.jit(model.init)(jax.random.key(1), x)
    sites = peft.sites(model, variables, x)
    rows = [[(".*(query|value)/kernel", "lora", {"rank": rank, "alpha": 3.0})] for rank in (1, 2, 3)]
    made = [peft.init(jax.random.key(i), row, sites, variables["params"]) for i, row in enumerate(rows)]
    return model, variables, x, [moved(tree) for tree in made]


def test_each_example_of_a_batch_has_an_adapter_of_its_own(bert):
    model, variables, x, made = bert
    which = jnp.asarray([0, 2, 1, 1, 0, 2])
    stacked = peft.stack([peft.pad(tree, 4) for tree in made])
    y = jax.jit(lambda w, x: peft.per_example(model, variables, stacked, w, x))(which, x)
    for i, number in enumerate(which):
        alone, _ = forward.apply(
            model, {**variables, "adapters": made[number]}, jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], x)
        )
        np.testing.assert_allclose(y[i], alone[0], atol=1e-5)
    with pytest.raises(InputError, match=r"can't be stacked; pad them to one rank"):
        peft.stack(made)


def test_examples_with_adapters_of_their_own_share_the_products_with_the_kernels(bert):
    model, variables, x, made = bert

    def flops(tree, count):
        stacked = peft.stack([tree] * count)
        run = jax.jit(lambda w, x: peft.per_example(model, variables, stacked, w, x))
        return run.lower(jnp.zeros(6, int), x).compile().cost_analysis()["flops"]

    plain = jax.jit(lambda x: forward.apply(model, variables, x)[0]).lower(x).compile().cost_analysis()["flops"]
    assert flops(made[0], 2) < 1.2 * plain
    assert flops(made[0], 16) == pytest.approx(flops(made[0], 2), rel=0.02)


def test_adapters_are_swapped_without_compiling(bert):
    model, variables, x, made = bert
    compiled = []

    @jax.jit
    def run(adapters):
        compiled.append(1)
        return forward.apply(model, {**variables, "adapters": adapters}, x)[0]

    padded = [peft.pad(tree, 4) for tree in made]
    for tree, swapped in zip(made, padded, strict=True):
        np.testing.assert_allclose(run(swapped), forward.apply(model, {**variables, "adapters": tree}, x)[0], atol=1e-5)
    np.testing.assert_allclose(run(peft.scale(padded[0], 0.0)), forward.apply(model, variables, x)[0], atol=1e-6)
    assert len(compiled) == 1
    with pytest.raises(InputError, match="can't be padded to 2"):
        peft.pad(made[2], 2)
