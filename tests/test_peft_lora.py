"""LoRA and its kin on every kind of layer that is linear in a kernel."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import layers, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward

KINDS = {
    "dense": (nn.Dense(5), (3, 4)),
    "dense_without_bias": (nn.Dense(5, use_bias=False), (2, 3, 4)),
    "one_output": (nn.Dense(1), (3, 4)),
    "heads": (nn.DenseGeneral((2, 3)), (2, 3, 4)),
    "from_heads": (nn.DenseGeneral(5, axis=(-2, -1)), (3, 2, 4)),
    "axes_in_front": (nn.DenseGeneral((2, 3), axis=(2, 1)), (2, 3, 4, 5)),
    "einsum": (nn.Einsum((4, 2, 3), "btd,dnh->btnh"), (2, 3, 4)),
    "einsum_from_heads": (nn.Einsum((2, 4, 5), "...nh,nhd->...d"), (3, 2, 4)),
    "einsum_sum": (nn.Einsum((4, 5), "btd,df->bf", use_bias=False), (2, 3, 4)),
    "conv1d": (nn.Conv(5, (3,), padding="CAUSAL"), (2, 7, 4)),
    "conv2d": (nn.Conv(5, (3, 2), strides=2, kernel_dilation=2, padding=1), (2, 7, 8, 4)),
    "conv3d": (nn.Conv(3, (2, 2, 2), padding="CIRCULAR"), (1, 3, 4, 3, 2)),
    "own_conv": (layers.Conv(5, 3, strides=2, padding=1), (2, 7, 7, 4)),
    "own_pointwise": (layers.Conv(5, 1), (2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose(5, (3, 3), strides=(2, 2)), (2, 4, 4, 3)),
    "grouped": (nn.Conv(6, (3, 3), feature_group_count=2), (2, 5, 5, 4)),
    "own_grouped": (layers.Conv(6, 3, groups=2), (2, 5, 5, 4)),
    "groups_beyond_the_rank": (nn.Conv(9, (3, 3), feature_group_count=3), (2, 5, 5, 6)),
    "depthwise": (nn.Conv(6, (3, 3), feature_group_count=6), (2, 5, 5, 6)),
    "own_depthwise": (layers.Conv(12, 3, groups=6), (2, 5, 5, 6)),
    "masked": (nn.Conv(5, (3,), mask=jnp.arange(60.0).reshape(3, 4, 5) % 2), (2, 7, 4)),
    "attention": (nn.MultiHeadDotProductAttention(2), (2, 3, 4)),
    "embed": (nn.Embed(7, 4), (2, 3)),
    "half_precision": (nn.Dense(5, dtype=jnp.bfloat16), (3, 4)),
}
METHODS = {
    "lora": ("lora", {"rank": 2, "alpha": 3.0}),
    "rslora": ("lora", {"rank": 4, "rslora": True, "start": "gaussian"}),
    "pissa": ("lora", {"rank": 1, "alpha": 3.0, "start": "pissa"}),
    "olora": ("lora", {"rank": 1, "start": "olora"}),
    "dora": ("dora", {"rank": 2}),
    "adalora": ("adalora", {"rank": 2, "target_rank": 1}),
    "lora_fa": ("lora_fa", {"rank": 2}),
    "delta": ("delta", {}),
}


class One(nn.Module):
    """A model of one layer."""

    layer: nn.Module

    def __call__(self, x):
        return self.layer(x)


def made(kind, method):
    """(model, input, variables, adapters)."""
    layer, shape = KINDS[kind]
    model = One(layer)
    x = jax.random.normal(jax.random.key(0), shape)
    x = (jnp.abs(x) * 3).astype(jnp.int32) if kind == "embed" else x
    variables = model.init(jax.random.key(1), x)
    name, fields = METHODS[method]
    sites = peft.sites(model, variables, x)
    kernels = "|".join(path for path, site in sites.items() if site.leaf)
    return model, x, variables, peft.init(jax.random.key(2), [(kernels, name, fields)], sites, variables["params"])


def moved(tree, size=0.3):
    """What is trained of adapters, moved at random."""

    def move(path, leaf):
        key = jax.random.fold_in(jax.random.key(3), len(path))
        return leaf if "/fixed/" in path else leaf + size * jax.random.normal(key, leaf.shape)

    return trees.map_with_path(move, tree)


CASES = [(kind, "lora") for kind in KINDS]
CASES += [(kind, method) for method in METHODS if method != "lora" for kind in ("from_heads", "grouped", "embed")]


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_an_adapter_begins_as_no_change_and_merges_into_what_it_does(kind, method):
    if (kind, method) == ("embed", "lora_fa"):
        with pytest.raises(InputError, match="begins with a as zero"):
            made(kind, method)
        return
    model, x, variables, adapters = made(kind, method)
    half = kind == "half_precision"
    before, _ = forward.apply(model, variables, x)
    begun, _ = forward.apply(model, {**variables, "adapters": adapters}, x)
    assert begun.dtype == before.dtype
    np.testing.assert_allclose(begun, before, atol=1e-6 if method == "dora" and not half else 0)
    adapters = moved(adapters)
    after, _ = forward.apply(model, {**variables, "adapters": adapters}, x)
    assert np.abs(after - before).max() > 1e-4
    merged = peft.merge(variables["params"], adapters)
    plain, _ = forward.apply(model, {"params": merged}, x)
    np.testing.assert_allclose(plain, after, atol=0.1 if half else 3e-5)
    if method != "dora":
        back = peft.unmerge(merged, adapters)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), back, variables["params"])
