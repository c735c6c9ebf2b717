"""Functions on adapters as trees: several at once, one out of several, more, less and none of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_peft_lora import moved

from jtransfer import fusion, models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward

WEIGHTS = (1.0, 2.0, 0.5)


@pytest.fixture(scope="module")
def mlp():
    """(model, variables, input, sites) of a model of two dense layers and a head."""
    model = models.create("mlp", 3, widths=(6, 5), num_features=4)
    x = jax.random.normal(jax.random.key(0), (2, 4))
    variables = model.init(jax.random.key(1), x)
    return model, variables, x, peft.sites(model, variables, x)


def adapters(mlp, seed, method="lora", pattern=".*kernel", **fields):
    _, variables, _, sites = mlp
    return moved(peft.init(jax.random.key(seed), [(pattern, method, fields)], sites, variables["params"]))


def run(mlp, *trees_):
    model, variables, x, _ = mlp
    return forward.apply(model, {**variables, "adapters": peft.add(*trees_)}, x)[0]


def change(mlp, tree):
    """What adapters add to the parameters, by path."""
    params = mlp[1]["params"]
    merged = trees.flatten(peft.merge(params, tree))
    return {path: merged[path] - leaf for path, leaf in trees.flatten(params).items()}


def assert_sum(mlp, combined, parts, weights, atol=1e-6):
    found, parts = change(mlp, combined), [change(mlp, part) for part in parts]
    for path, leaf in found.items():
        np.testing.assert_allclose(leaf, sum(w * p[path] for w, p in zip(weights, parts, strict=True)), atol=atol)


def test_added_adapters_add_up_their_changes(mlp):
    first, second, third = adapters(mlp, 1), adapters(mlp, 2, rank=3), adapters(mlp, 3, "dora")
    fourth = adapters(mlp, 4, "dora", pattern="head/dense")
    together = peft.add(first, second, third, fourth)
    assert_sum(mlp, together, [first, second, third, fourth], [1, 1, 1, 1])
    model, variables, x, _ = mlp
    merged = peft.merge(variables["params"], together)
    np.testing.assert_allclose(run(mlp, together), forward.apply(model, {"params": merged}, x)[0], atol=1e-5)


def test_adapters_are_called_by_labels_and_disabled_by_patterns(mlp):
    first, second = adapters(mlp, 1), adapters(mlp, 2)
    both = peft.add(peft.label(first, "french"), peft.label(second, "legal"))
    assert sorted(both["head"]["dense"]) == ["lora.french", "lora.legal"]
    np.testing.assert_array_equal(run(mlp, peft.disable(both, ".*/lora.legal")), run(mlp, first))
    assert peft.disable(both) == {}
    with pytest.raises(InputError, match="matches no adapter, such as"):
        peft.disable(both, "lora.legal")
    with pytest.raises(InputError, match="must be made of letters"):
        peft.label(first, "a/b")


def test_a_scaled_adapter_has_a_multiple_of_the_change(mlp):
    first = adapters(mlp, 1)
    assert_sum(mlp, peft.scale(first, -2.5), [first], [-2.5])
    np.testing.assert_array_equal(run(mlp, peft.scale(first, 0.0)), run(mlp, peft.scale(adapters(mlp, 2), 0.0)))
    with pytest.raises(InputError, match="'dora' has nothing to scale"):
        peft.scale(adapters(mlp, 1, "dora"), 2.0)


@pytest.mark.parametrize("how", ["cat", "linear"])
def test_low_rank_adapters_are_combined_exactly_side_by_side(mlp, how):
    of_head, from_kernel = adapters(mlp, 2, rank=3, pattern="head/dense"), adapters(mlp, 3, start="pissa", rank=1)
    parts = [adapters(mlp, 1, alpha=3.0), of_head, from_kernel]
    combined = peft.combine(parts, WEIGHTS, how)
    assert_sum(mlp, combined, parts, WEIGHTS)
    assert combined["head"]["dense"]["lora"]["a"].shape == (5, 8 + 3 + 2)


def test_an_adapter_is_nearest_at_its_rank(mlp):
    parts = [adapters(mlp, 1, rank=2), adapters(mlp, 2, rank=1)]
    assert_sum(mlp, peft.combine(parts, (1, -2), "svd", rank=3), parts, (1, -2))
    with pytest.raises(InputError, match="'cat' keeps all ranks side by side; for rank=1 use 'svd'"):
        peft.combine(parts, (1, -2), "cat", rank=1)
    nearest = change(mlp, peft.combine(parts, (1, -2), "svd", rank=1))
    for path, leaf in change(mlp, peft.combine(parts, (1, -2))).items():
        if leaf.ndim == 2:
            u, s, vt = np.linalg.svd(leaf)
            np.testing.assert_allclose(nearest[path], s[0] * np.outer(u[:, 0], vt[0]), atol=1e-5)


def test_adapters_that_are_not_low_rank_are_combined_whole(mlp):
    parts = [adapters(mlp, 1), adapters(mlp, 2, "dora")]
    with pytest.raises(InputError, match="depends on the parameters; give params"):
        peft.combine(parts, (1, 2))
    with pytest.raises(InputError, match="'cat' needs low-rank adapters"):
        peft.combine(parts, (1, 2), "cat")
    combined = peft.combine(parts, (0.5, 2), params=mlp[1]["params"])
    assert_sum(mlp, combined, parts, (0.5, 2))
    model, variables, x, sites = mlp
    merged = peft.merge(variables["params"], combined)
    np.testing.assert_allclose(run(mlp, combined), forward.apply(model, {"params": merged}, x)[0], atol=1e-5)
    low = peft.combine(parts, (0.5, 2), params=variables["params"], sites=sites, rank=6)
    assert_sum(mlp, low, parts, (0.5, 2), atol=1e-5)


def test_ties_are_of_the_changes_not_of_the_factors(mlp):
    parts = [adapters(mlp, seed) for seed in (1, 2, 3)]
    combined = change(mlp, peft.combine(parts, WEIGHTS, "ties", density=0.4, params=mlp[1]["params"]))
    each = [change(mlp, part) for part in parts]
    for path, leaf in combined.items():
        if path.endswith("kernel"):
            expected = fusion.ties(jnp.stack([e[path] for e in each]), WEIGHTS, density=0.4)
            np.testing.assert_allclose(leaf, expected, atol=1e-6)


def test_dare_needs_a_key(mlp):
    parts = [adapters(mlp, 1), adapters(mlp, 2)]
    with pytest.raises(InputError, match="give a key"):
        peft.combine(parts, (1, 1), "dare")
    for how in ("dare", "dare_ties"):
        found = peft.combine(parts, (1, 1), how, key=jax.random.key(0), density=1.0, params=mlp[1]["params"])
        assert set(trees.flatten(found)) >= {"head/dense/delta/kernel"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((1,),), "as many weights as adapters, not 1 for 2"),
        (((1, 1), "mean"), "unknown way to combine adapters: 'mean'"),
        (((1, 1), "ties"), "needs the parameters; give params, or a rank"),
    ],
)
def test_what_can_not_be_combined_is_one_line(mlp, arguments, says):
    with pytest.raises(InputError, match=says):
        peft.combine([adapters(mlp, 1), adapters(mlp, 2)], *arguments)
