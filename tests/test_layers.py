"""Layers: every route gives XLA's numbers, forward and backward; torch's conventions where they differ from Flax's."""

import os
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jtransfer import layers
from jtransfer.layers.activation import gelu
from jtransfer.layers.conv import DIMENSIONS, explicit_padding
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.cpu.window_views import out_size


def normal(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def both(f, *args):
    """The value of f and the gradients of a fixed weighted sum of it."""

    def run(*args):
        y, vjp = jax.vjp(f, *args)
        return y, vjp(normal(*y.shape, seed=1, dtype=y.dtype))

    return jax.jit(run)(*args)


def close(actual, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))


CONVS = {
    # size, channels in and out, window, strides, padding, groups, the CPU's route
    "pointwise": ((5, 6), 4, 6, (1, 1), 1, "SAME", 1, "pointwise"),
    "pointwise with stride 2": ((5, 6), 4, 6, (1, 1), 2, 0, 1, "pointwise"),
    "depthwise": ((5, 6), 4, 4, (3, 3), 1, 1, 4, "depthwise"),
    "depthwise, SAME on an even map": ((8, 6), 4, 4, (3, 3), 2, "SAME", 4, "depthwise"),
    "depthwise, torch's padding": ((8, 7), 4, 4, (5, 5), 2, 2, 4, "depthwise"),
    "depthwise, stride beyond the window": ((7, 8), 4, 4, (2, 3), (3, 4), "VALID", 4, "depthwise"),
    "depthwise, uneven padding": ((6, 7), 4, 4, (3, 5), (1, 2), ((0, 1), (2, 1)), 4, "depthwise"),
    "patches": ((4, 4), 4, 6, (3, 3), 1, 1, 1, "patches"),
    "patches with stride 2": ((7, 6), 4, 6, (3, 3), 2, "SAME", 1, "patches"),
    "large map": ((9, 8), 4, 6, (3, 3), 1, 1, 1, "xla"),
    "large map with stride 2": ((17, 16), 4, 6, (3, 3), 2, 1, 1, "xla"),
    "1×1 with padding": ((5, 6), 4, 6, (1, 1), 1, 1, 1, "xla"),
    "grouped": ((5, 6), 4, 6, (3, 3), 1, 1, 2, "xla"),
    "depthwise with a multiplier": ((5, 6), 4, 8, (3, 3), 1, 1, 4, "xla"),
}


@pytest.mark.parametrize("case", CONVS)
def test_convolution_equals_xla(case):
    size, cin, features, window, strides, padding, groups, _ = CONVS[case]
    x, kernel = normal(2, *size, cin), normal(*window, cin // groups, features)
    pair = (strides, strides) if isinstance(strides, int) else strides
    pads = explicit_padding(padding, size, window, pair)

    def native(x, kernel):
        return lax.conv_general_dilated(x, kernel, pair, pads, dimension_numbers=DIMENSIONS, feature_group_count=groups)

    def ours(x, kernel):
        return layers.conv(x, kernel, strides=strides, padding=padding, groups=groups)

    close(both(ours, x, kernel), both(native, x, kernel))


@pytest.mark.parametrize("case", CONVS)
def test_the_cpu_takes_its_route_and_other_backends_xla(case, monkeypatch):
    size, cin, features, window, strides, padding, groups, expected = CONVS[case]
    pair = (strides, strides) if isinstance(strides, int) else strides
    pads = explicit_padding(padding, size, window, pair)
    kernel = (*window, cin // groups, features)
    arguments = (cin, kernel, pads, groups, out_size(size, window, pair, pads))
    assert dispatch.conv(*arguments) == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert dispatch.conv(*arguments) == "xla"


@pytest.mark.parametrize("groups", [1, 4])
def test_bfloat16_stays_bfloat16(groups):
    x, kernel = normal(2, 6, 6, 4, dtype=jnp.bfloat16), normal(3, 3, 4 // groups, 4, dtype=jnp.bfloat16)

    def exact(x, kernel):
        y = layers.conv(x.astype(jnp.float32), kernel.astype(jnp.float32), padding=1, groups=groups)
        return y.astype(jnp.bfloat16)

    close(
        both(lambda x, kernel: layers.conv(x, kernel, padding=1, groups=groups), x, kernel),
        both(exact, x, kernel),
        0.03,
    )


def test_gradient_of_the_gradient():
    """Reverse mode over reverse mode, through the conditional that compiles the depthwise gradient apart."""
    x, kernel = normal(1, 4, 4, 2), normal(3, 3, 1, 2)

    def penalty(conv):
        def gradient_norm(kernel):
            return (jax.grad(lambda kernel: jnp.sin(conv(x, kernel)).sum())(kernel) ** 2).sum()

        return jax.grad(gradient_norm)(kernel)

    def native(x, kernel):
        pads = ((1, 1), (1, 1))
        return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=DIMENSIONS, feature_group_count=2)

    close(penalty(lambda x, kernel: layers.conv(x, kernel, padding=1, groups=2)), penalty(native))


def test_per_example_gradients():
    """`vmap` over a gradient."""
    x, kernel = normal(3, 1, 5, 5, 2), normal(3, 3, 1, 2)

    def gradient(x):
        return jax.grad(lambda kernel: jnp.sin(layers.conv(x, kernel, strides=2, padding=1, groups=2)).sum())(kernel)

    close(jax.vmap(gradient)(x), jnp.stack([gradient(example) for example in x]))


def test_module_has_flax_parameters():
    x = normal(2, 6, 6, 4)
    ours = layers.Conv(8, 3, 2, 1, groups=2)
    theirs = nn.Conv(8, (3, 3), 2, ((1, 1), (1, 1)), feature_group_count=2)
    variables = theirs.init(jax.random.key(0), x)
    close(ours.init(jax.random.key(0), x), variables)
    close(ours.apply(variables, x), theirs.apply(variables, x))


def test_module_computes_in_its_dtype():
    y, variables = layers.Conv(8, 1, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), normal(1, 2, 2, 4))
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32


POOLS = {
    "ResNet's": ((8, 7), (3, 3), (2, 2), 1),
    "VGG's": ((6, 6), (2, 2), (2, 2), "VALID"),
    "cut off": ((7, 7), (2, 2), (2, 2), "VALID"),
    "SAME on an even map": ((6, 8), (3, 3), (2, 2), "SAME"),
    "overlapping": ((5, 6), (3, 2), (1, 1), "SAME"),
    "with gaps": ((8, 9), (2, 2), (3, 3), "VALID"),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("step", [0.0, 0.5], ids=["distinct", "ties"])
def test_max_pool_equals_xla(case, step):
    """With values in steps of a half many windows have ties: the gradient goes to the first maximum, as in XLA."""
    size, window, strides, padding = POOLS[case]
    x = normal(2, *size, 3)
    x = jnp.round(x / step) * step if step else x
    pads = explicit_padding(padding, size, window, strides)
    ours = both(lambda x: layers.max_pool(x, window, strides, padding), x)
    close(ours, both(lambda x: nn.max_pool(x, window, strides, pads), x))


def test_max_pool_of_negative_bfloat16():
    x = -1 - jnp.abs(normal(1, 4, 4, 2, dtype=jnp.bfloat16))
    y = layers.max_pool(x, 3, 2, 1)
    assert y.dtype == jnp.bfloat16
    assert float(y.max()) < 0


def test_avg_pool_counts_padding_or_not():
    ones = jnp.ones((1, 2, 2, 1))
    assert layers.avg_pool(ones, 3, 3, 1, count_include_pad=True).item() == pytest.approx(4 / 9)
    assert layers.avg_pool(ones, 3, 3, 1, count_include_pad=False).item() == pytest.approx(1)


@pytest.mark.parametrize(("length", "bins"), [(7, 3), (6, 3), (3, 7), (5, 5), (10, 1)])
def test_adaptive_avg_pool_averages_torchs_bins(length, bins):
    x = normal(2, length, 4, 3)
    expected = [x[:, i * length // bins : -(-(i + 1) * length // bins)].mean(axis=(1, 2)) for i in range(bins)]
    close(layers.adaptive_avg_pool(x, (bins, 1))[:, :, 0], jnp.stack(expected, axis=1))


def test_global_avg_pool():
    x = normal(2, 3, 5, 4)
    close(layers.global_avg_pool(x), layers.adaptive_avg_pool(x, 1)[:, 0, 0])


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_flax(dtype, train):
    """Outputs, new statistics, and the gradients of input, scale and bias, with a mean far from zero."""
    x = 2 * normal(4, 5, 6, 3) + 3

    def run(kind):
        norm = kind(momentum=0.9, epsilon=1e-3, dtype=dtype)
        variables = norm.init(jax.random.key(0), x, use_running_average=False)
        variables = jax.tree.map(lambda leaf: leaf + jnp.abs(normal(*leaf.shape, seed=2)), variables)
        stats = {"batch_stats": variables["batch_stats"]}

        def apply(params, x):
            y, moved = norm.apply(
                {"params": params, **stats}, x, use_running_average=not train, mutable=["batch_stats"]
            )
            return y, moved

        y, vjp, moved = jax.vjp(apply, variables["params"], x, has_aux=True)
        return y, moved, vjp(normal(*y.shape, seed=1, dtype=y.dtype))

    close(run(layers.BatchNorm), run(nn.BatchNorm), 2e-2 if dtype else 5e-5)


def test_batch_norm_argument_at_call_time():
    """An interceptor may hold statistics still by the call's argument; both forms of it work."""
    x = normal(4, 3, 3, 2)
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, use_running_average=True)
    assert isinstance(norm, nn.BatchNorm)
    close(norm.apply(variables, x, True), norm.apply(variables, x, use_running_average=True))
    fixed = layers.BatchNorm(use_running_average=True)
    close(fixed.apply(variables, x), norm.apply(variables, x, use_running_average=True))
    with pytest.raises(ValueError, match="use_running_average"):
        norm.apply(variables, x)


def test_batch_norm_with_mask_is_flaxs():
    x, mask = normal(4, 3, 3, 2), jnp.asarray([True, True, False, True])[:, None, None, None]
    norm = layers.BatchNorm(use_running_average=False)
    variables = norm.init(jax.random.key(0), x)
    _, moved = norm.apply(variables, x, mask=mask, mutable=["batch_stats"])
    _, expected = nn.BatchNorm(use_running_average=False).apply(variables, x, mask=mask, mutable=["batch_stats"])
    close(moved, expected)


def test_apart_separates_what_the_compiler_would_fuse():
    """Two shifted reads of a sine: fused, it is computed for each; apart, once, into memory."""

    def shifted(y):
        return y[1:] + y[:-1]

    def sines(f):
        text = jax.jit(f).lower(normal(64, 64)).compile().as_text()
        return [line for line in text.splitlines() if " conditional(" in line]

    assert not sines(lambda x: shifted(jnp.sin(x)))
    assert sines(lambda x: dispatch.fusion_barrier(shifted, jnp.sin(x)))
    x = normal(64, 64).at[0, 0].set(jnp.nan)
    np.testing.assert_array_equal(dispatch.fusion_barrier(shifted, x), shifted(x))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_layer_norm_is_flaxs(dtype):
    x = normal(3, 5, 16, dtype=dtype) * 3 + 1
    fields = {"epsilon": 1e-5, "dtype": dtype}
    variables = nn.LayerNorm(**fields).init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: leaf + normal(*leaf.shape, seed=2) / 2, variables)

    def of(module):
        return both(lambda params, x: module.apply({"params": params}, x), variables["params"], x)

    close(of(layers.LayerNorm(**fields)), of(nn.LayerNorm(**fields)), 1e-5 if dtype == np.float32 else 2e-2)


def test_gelu_is_jaxs():
    x = jnp.linspace(-12, 12, 999)
    close(both(gelu, x), both(partial(jax.nn.gelu, approximate=False), x), 1e-6)


NORM = {"params": {"scale": jnp.linspace(0.5, 1.5, 8), "bias": jnp.ones(8)}}


@pytest.mark.parametrize("f", [gelu, lambda x: layers.LayerNorm().apply(NORM, x)])
def test_derivatives_forward_over_reverse(f):
    x, direction = normal(4, 8), normal(4, 8, seed=1)
    gradient = jax.grad(lambda x: jnp.sum(f(x) ** 3))
    _, moved = jax.jvp(gradient, (x,), (direction,))
    step = 1e-2
    expected = (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(moved, expected, rtol=2e-2, atol=2e-2)


CHAIN = """
import jax, jax.numpy as jnp
from jtransfer import layers

norm = layers.LayerNorm()
params = {"params": {"scale": jnp.ones(8), "bias": jnp.ones(8)}}

def flops(depth):
    def loss(kernels, x):
        for kernel in kernels:
            x = norm.apply(params, x + x @ kernel)
        return jnp.sum(x**3)

    compiled = jax.jit(jax.grad(loss)).lower([jnp.ones((8, 8))] * depth, jnp.ones((4, 8))).compile()
    return compiled.cost_analysis()["flops"]

print(flops(6) / flops(3))
"""


def test_the_gradient_of_norms_after_residuals_costs_the_same_in_each_layer_on_one_cpu():
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CHAIN], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2.2
