"""EVA: LoRA that begins with the principal components of its layers' inputs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward


@pytest.fixture(scope="module")
def mlp():
    model = models.create("mlp", 3, widths=(6,), num_features=5)
    batches = [jax.random.normal(jax.random.key(i), (20, 5)) * jnp.arange(1.0, 6) + 2 for i in range(3)]
    return model, model.init(jax.random.key(9), batches[0]), batches


def begin(mlp, rows, **fields):
    model, variables, batches = mlp
    return peft.eva(model, variables, batches, rows, jax.random.key(0), **fields)


def components(x):
    """The directions and shares of variance of inputs [n, d]."""
    _, s, vt = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return vt, s**2 / np.sum(s**2)


@pytest.mark.parametrize("method", ["lora", "dora", "lora_fa"])
def test_factors_are_the_principal_components_of_all_batches(mlp, method):
    model, variables, batches = mlp
    adapters = begin(mlp, [(".*/kernel", method, {"rank": 2})])
    y, _ = forward.apply(model, {**variables, "adapters": adapters}, batches[0])
    np.testing.assert_allclose(y, forward.apply(model, variables, batches[0])[0], atol=1e-6)
    x = jnp.concatenate(batches)
    inputs = {"hidden1": x, "head": forward.apply(model, variables, x, outputs=("hidden1",))[0]["hidden1"]}
    for stage, seen in inputs.items():
        own = adapters[stage]["dense"][method]
        a = own["a"] if "a" in own else own["fixed"]["a"]
        vt, _ = components(np.asarray(seen, np.float64))
        np.testing.assert_allclose(np.abs(vt[:2] @ a), np.eye(2), atol=1e-3)


def test_ranks_are_spent_where_they_explain_most(mlp):
    rows = [(".*/kernel", "lora", {"rank": 2, "alpha": 3})]
    adapters = begin(mlp, rows, rho=1.5)
    ranks = {p.split("/")[0]: leaf.shape[-1] for p, leaf in trees.flatten(adapters).items() if p.endswith("/a")}
    assert sum(ranks.values()) == 4
    assert max(ranks.values()) <= 3
    for own in (adapters[stage]["dense"]["lora"] for stage in ranks):
        np.testing.assert_allclose(own["fixed"]["scale"], 3 / 2)  # alpha grows with the rank


class Text(nn.Module):
    """A layer over embeddings of tokens."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="dense")(nn.Embed(30, 5)(x["input_ids"]))


def test_padding_does_not_count():
    model, ids, mask = Text(), jax.random.randint(jax.random.key(0), (4, 6), 1, 30), jnp.arange(6) < 4
    short = {"input_ids": ids[:, :4], "attention_mask": jnp.ones((4, 4), int)}
    padded = {"input_ids": jnp.where(mask, ids, 0), "attention_mask": jnp.broadcast_to(mask, (4, 6)).astype(int)}
    variables, rows = model.init(jax.random.key(1), short), [("dense", "lora", {"rank": 2})]
    found = [peft.eva(model, variables, [x], rows, jax.random.key(0)) for x in (short, padded)]
    first, second = (tree["dense"]["lora"]["a"] for tree in found)
    np.testing.assert_allclose(np.abs(first.T @ second), np.eye(2), atol=1e-3)


@pytest.mark.parametrize(
    ("row", "fields", "says"),
    [
        ((".*/kernel", "adalora", {}), {}, "it is a start of lora, lora_fa, dora, not of 'adalora'"),
        ((".*/kernel", "lora", {"start": "pissa"}), {}, "it is a start of"),
        (
            (".*/kernel", "lora", {"rank": 7}),
            {},
            "only 5 components of the inputs of hidden1/dense, fewer",
        ),
        ((".*/kernel", "lora", {}), {"rho": 0.5}, "rho=0.5 must be at least 1"),
    ],
)
def test_what_can_not_begin_so_is_one_line(mlp, row, fields, says):
    with pytest.raises(InputError, match=says):
        begin(mlp, [row], **fields)
