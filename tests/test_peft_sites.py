"""Which modules of a user's model can be adapted, and that adapters reach those that can."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_peft_lora import One, moved

from jtransfer import peft
from jtransfer.core.errors import InputError
from jtransfer.models import forward


def adapted(model, x, pattern, method="lora"):
    variables = model.init(jax.random.key(0), x)
    sites = peft.sites(model, variables, x)
    return variables, moved(peft.init(jax.random.key(1), [(pattern, method, {})], sites, variables["params"]))


def assert_merges(model, x, pattern, method="lora"):
    variables, adapters = adapted(model, x, pattern, method)
    y, _ = forward.apply(model, {**variables, "adapters": adapters}, x)
    assert np.abs(y - forward.apply(model, variables, x)[0]).max() > 1e-3
    merged = peft.merge(variables["params"], adapters)
    np.testing.assert_allclose(forward.apply(model, {"params": merged}, x)[0], y, atol=1e-5)


class Recurrent(nn.Module):
    """A scan over time, with the same parameters at each step."""

    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.LSTMCell(4))(x)


class Remat(nn.Module):
    """A layer that is computed again for the gradient, called by keyword."""

    @nn.compact
    def __call__(self, x):
        return nn.remat(nn.Dense)(4, name="dense")(inputs=x)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(nn.Dense(4, name="dense")(x)), None


class Scanned(nn.Module):
    """Layers in a scan, each with parameters of its own."""

    axes: tuple

    @nn.compact
    def __call__(self, x):
        scan = nn.scan(Layer, variable_axes=dict.fromkeys(self.axes, 0), split_rngs={"params": True}, length=3)
        return scan(name="layers")(x, None)[0]


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(
    ("model", "pattern"),
    [(Recurrent(), "LSTMCell_0/hi"), (Remat(), "dense"), (Scanned(("params", "adapters")), "layers/dense")],
)
def test_adapters_reach_modules_within_transforms(model, pattern, method):
    assert_merges(model, jnp.ones((2, 3, 4)), pattern, method)


def test_a_scan_that_passes_no_adapters_on_is_refused():
    with pytest.raises(InputError, match='it is in a scan that passes no adapters on; add "adapters" to variable_axes'):
        adapted(Scanned(("params",)), jnp.ones((2, 4)), "layers/dense")


class Standardised(nn.Conv):
    """A convolution of another kernel than its parameter."""

    def param(self, name, *args, **kwargs):
        value = super().param(name, *args, **kwargs)
        return value - value.mean() if name == "kernel" else value


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (Standardised(3, (3,)), (2, 5, 4), "may not be linear in its kernel"),
        (nn.DenseGeneral(3, batch_dims=0, axis=-1), (2, 5, 4), "its kernel is not one matrix"),
        (nn.ConvTranspose(3, (3,), transpose_kernel=True), (2, 5, 4), "the axes of its output are not the last ones"),
        (nn.Einsum((2, 4, 3), "btd,tdf->btf"), (3, 2, 4), "is not x,kernel->y with the kernel's first axes summed"),
        (nn.Einsum((4, 3), "btd,df->bft"), (3, 2, 4), "no matrix"),
        (nn.LayerNorm(), (2, 4), "not known to be linear in a kernel"),
        (nn.ConvLocal(3, (3,)), (2, 5, 4), "not known to be linear in a kernel"),
    ],
)
def test_a_layer_whose_kernel_is_no_matrix_is_refused(layer, shape, says):
    with pytest.raises(InputError, match=says):
        adapted(One(layer), jnp.ones(shape), "layer")


def test_embeddings_that_also_give_the_logits_are_refused():
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, x):
            embed = nn.Embed(7, 4, name="embed")
            return embed.attend(embed(x))

    with pytest.raises(InputError, match="untie them"):
        adapted(Tied(), jnp.zeros((2, 3), int), "embed")


def test_adapters_of_a_scan_are_padded_and_combined_layer_by_layer():
    model, x = Scanned(("params", "adapters")), jnp.ones((2, 4))
    variables, first = adapted(model, x, "layers/dense")
    second = peft.scale(peft.pad(first, 9), -0.5)
    for combined in (
        peft.combine([first, second], [1.0, 3.0]),
        peft.combine([first, second], [1.0, 3.0], "svd", rank=4),
        peft.combine([first, second], [1.0, 3.0], params=variables["params"], how="magnitude", density=1.0),
    ):
        y, _ = forward.apply(model, {**variables, "adapters": combined}, x)
        half, _ = forward.apply(model, {**variables, "adapters": peft.scale(first, -0.5)}, x)
        np.testing.assert_allclose(y, half, atol=1e-5)
