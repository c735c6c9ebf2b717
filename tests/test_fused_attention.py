"""Fused kernels of attention: what they are asked for, what they give, and which programs hold them."""

import re
import types
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as jax_cudnn

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.sharding import make_mesh
from jtransfer.layers import Attention, cudnn, places, splash
from jtransfer.layers.attend import attend
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.dropout import Drawn
from jtransfer.layers.rotary import rotate
from jtransfer.layers.seen import Asked, Seen
from jtransfer.modalities.text.modality import preprocess
from jtransfer.models import forward

WAYS = {
    "all": {},
    "causal": {"causal": True},
    "window": {"causal": True, "window": 5},
    "lengths": {"lengths": jnp.array([3, 70])},
    "causal, lengths": {"causal": True, "lengths": jnp.array([3, 70])},
    "window, lengths": {"causal": True, "window": 20, "lengths": jnp.array([60, 70])},
}


def projections(queries=70, keys=70, heads=4, groups=4, features=16, dtype=jnp.float32):
    shapes = ((2, queries, heads, features), (2, keys, groups, features), (2, keys, groups, features))
    return [jax.random.normal(jax.random.key(i), shape).astype(dtype) for i, shape in enumerate(shapes)]


def with_gradients(f, *given):
    def value(*given):
        y = f(*given).astype(jnp.float32)
        return (y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum(), y

    (_, y), gradients = jax.value_and_grad(value, argnums=range(len(given)), has_aux=True)(*given)
    return (y, *gradients)


def same(found, expected, atol):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), np.asarray(b, np.float32), atol=atol, rtol=atol)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """cuDNN's kernels as their definition, which JAX has in plain operations; records what they are asked for."""
    asked, plain = [], jax.nn.dot_product_attention

    def instead(*given, implementation=None, **how):
        asked.append((implementation, given[0].shape, given[1].shape, how))
        return plain(*given, **how, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
    monkeypatch.setattr(cudnn, "missing", lambda: "")
    return asked


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("way", WAYS)
def test_cudnn_is_asked_for_what_the_composed_form_computes(as_on_a_gpu, monkeypatch, way, groups):
    monkeypatch.setattr(cudnn, "refusal", lambda *_, **__: "")  # float32, to compare closely
    given = projections(groups=groups)
    found = with_gradients(partial(attend, kernel="cudnn", **WAYS[way]), *given)
    [(name, queries, keys, _)] = as_on_a_gpu
    assert (name, queries[1], keys[1]) == ("cudnn", 72, 72)
    same(found, with_gradients(partial(attend, kernel="composed", **WAYS[way]), *given), 1e-5)


@pytest.mark.parametrize(("queries", "keys"), [(70, 64), (64, 75)])
def test_masks_and_biases_are_padded_with_queries_and_keys(as_on_a_gpu, monkeypatch, queries, keys):
    monkeypatch.setattr(cudnn, "refusal", lambda *_, **__: "")
    given = projections(queries, keys)
    mask = jax.random.bernoulli(jax.random.key(3), 0.7, (2, 1, 1, keys)).at[..., 0].set(True)
    bias = jax.random.normal(jax.random.key(4), (1, 4, queries, keys))
    for more in ({"mask": mask}, {"bias": bias}):
        found = with_gradients(partial(attend, kernel="cudnn", **more), *given)
        same(found, with_gradients(partial(attend, kernel="composed", **more), *given), 1e-5)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("way", WAYS)
def test_splash_equals_the_composed_form(way, groups):
    given = projections(groups=groups, features=64)
    run = partial(splash.attend, seen=Seen(**WAYS[way]), scale=0.125, interpret=True)
    composed = partial(attend, kernel="composed", **WAYS[way])
    same(with_gradients(jax.jit(run), *given), with_gradients(composed, *given), 2e-5)


def test_splash_has_a_softcap():
    given = projections(features=64)
    run = partial(splash.attend, seen=Seen(True), scale=0.5, softcap=2.0, interpret=True)
    same([jax.jit(run)(*given)], [attend(*given, causal=True, scale=0.5, softcap=2.0)], 2e-5)


@pytest.mark.parametrize("groups", [4, 1])
def test_splash_is_computed_where_examples_and_heads_are(groups):
    given = projections(groups=groups, features=64)
    mesh = make_mesh({"data": 2, "model": 4})
    place = jax.NamedSharding(mesh, jax.P("data", None, "model"))
    keys = place if groups == 4 else jax.NamedSharding(mesh, jax.P("data"))
    run = partial(splash.attend, seen=Seen(True), scale=0.125, interpret=True)
    with places.divided(mesh, ("data",), "model"):
        program = jax.jit(run, in_shardings=(place, keys, keys)).lower(*given).compile()
    assert groups == 1 or not re.search("all-gather|all-to-all|all-reduce", program.as_text())
    same([program(*jax.device_put(tuple(given), (place, keys, keys)))], [attend(*given, causal=True)], 2e-5)


@pytest.mark.parametrize("lengths", [None, jnp.array([3, 70])])
@pytest.mark.parametrize("causal", [False, True])
def test_a_sequence_is_lengthened_before_its_keys_are_made(as_on_a_gpu, monkeypatch, causal, lengths):
    """Also where kernels leave anything in the gradients of keys that they do not read."""
    monkeypatch.setattr(cudnn, "refusal", lambda *_, **__: "")
    inside = cudnn.attend
    monkeypatch.setattr(cudnn, "attend", lambda q, k, v, *seen, **how: inside(q, spoilt(k), spoilt(v), *seen, **how))
    make = partial(Attention, 4, num_kv_heads=2, causal=causal, rotate=rotate, norm=nn.RMSNorm)
    x = jax.random.normal(jax.random.key(0), (2, 70, 32))
    variables = make(kernel="composed").init(jax.random.key(1), x)

    def run(kernel):
        return with_gradients(
            lambda x, variables: make(kernel=kernel).apply(variables, x, lengths=lengths), x, variables
        )

    found, expected = run("cudnn"), run("composed")
    assert [queries[1] for name, queries, *_ in as_on_a_gpu if name] == [72]
    same(jax.tree.leaves(found), jax.tree.leaves(expected), 1e-4)


@jax.custom_vjp
def spoilt(x):
    return x


spoilt.defvjp(lambda x: (x, None), lambda _, dx: (dx.at[:, 70:].set(jnp.nan),))


def calls(f, platform, *shapes):
    allowed = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward", "__cudnn$fmhaScaleBiasSoftmax")
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in allowed]
    with dispatch.platform(platform):
        program = jax.export.export(jax.jit(f), platforms=[platform], disabled_checks=checks)(*shapes)
    return set(re.findall(r"custom_call @([\w$]+)", program.mlir_module())) - {"Sharding"}


def on_a_gpu(monkeypatch):
    monkeypatch.setattr(jax_cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(jax_cudnn, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(jax_cudnn, "is_cuda_compute_capability_equal", lambda _: False)
    monkeypatch.setattr(cudnn, "missing", lambda: "")


TINY = {"vocab_size": 32, "width": 128, "depth": 1, "num_heads": 2, "mlp_dim": 8, "dtype": jnp.bfloat16}
FAMILIES = {
    "vit": ("vit_base_patch16", {"width": 128, "depth": 1, "num_heads": 2, "mlp_dim": 8, "image_size": 160}, None),
    "bert": ("bert_base", {**TINY, "attention_dropout": 0.0}, 128),
    "gpt2": ("gpt2", {**TINY, "attention_dropout": 0.0, "max_length": 2048}, 1024),
    "llama": ("llama3_2_1b", {**TINY, "num_kv_heads": 1, "head_dim": 64}, 1024),
    "bart": ("bart_base", {**TINY, "attention_dropout": 0.0}, 128),
}


def lowered(family, platform, masked=True, **more):
    name, fields, length = FAMILIES[family]
    model = models.create(name, **{"dtype": jnp.bfloat16, **fields, **more})
    if length is None:
        x = jax.ShapeDtypeStruct((2, 160, 160, 3), jnp.float32)
    else:
        tokens = jax.ShapeDtypeStruct((2, length), jnp.int32)
        prefixes = ("", "decoder_") if family == "bart" else ("",)
        parts = ("input_ids", "attention_mask") if masked else ("input_ids",)
        x = {f"{prefix}{part}": tokens for prefix in prefixes for part in parts}
    one = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), x)
    variables = jax.eval_shape(model.init, jax.random.key(0), one)

    def gradients(variables, x):
        def loss(variables):
            y = forward.apply(
                model,
                variables,
                preprocess(x) if length and masked else x,
                train=True,
                rngs={"dropout": jax.random.key(1)},
            )[0]
            return jnp.sum(y.astype(jnp.float32))

        return jax.grad(loss)(variables)

    return calls(gradients, platform, variables, x)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_hold_cudnns_kernels_on_a_gpu(monkeypatch, family):
    on_a_gpu(monkeypatch)
    assert lowered(family, "cuda") == {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}
    assert not lowered(family, "cuda", attention_kernel="composed")


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "bart"])
def test_texts_without_padding_ask_for_no_mask(monkeypatch, family):
    on_a_gpu(monkeypatch)
    assert lowered(family, "cuda", masked=False) == {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_language_models_hold_splash_attention_on_a_tpu(monkeypatch, family):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    window = {"window": 600} if family == "llama" else {}
    assert "tpu_custom_call" in lowered(family, "tpu", **window)
    assert "tpu_custom_call" not in lowered(family, "tpu", attention_kernel="composed")
    monkeypatch.undo()
    assert "tpu_custom_call" not in lowered(family, "tpu"), "nobody said which of 8 devices has what"


def test_lengths_and_masks_say_the_same():
    name, fields, _ = FAMILIES["bert"]
    model = models.create(name, **{**fields, "dtype": jnp.float32})
    x = {"input_ids": jnp.arange(12).reshape(2, 6), "attention_mask": jnp.array([[1] * 6, [1] * 4 + [0] * 2])}
    variables = model.init(jax.random.key(0), x)
    told = preprocess(x)
    np.testing.assert_array_equal(told["lengths"], [6, 4])
    np.testing.assert_array_equal(model.apply(variables, told), model.apply(variables, x))


@pytest.mark.parametrize(
    ("why", "kernel", "more", "shape"),
    [
        ("float32", "cudnn", {}, {}),
        ("no softcap", "cudnn", {"softcap": 1.0}, {"dtype": jnp.bfloat16}),
        ("no multiple of 8", "cudnn", {}, {"dtype": jnp.bfloat16, "features": 12}),
        ("no NVIDIA GPU", "cudnn", {}, {"dtype": jnp.bfloat16}),
        ("no multiple of 64", "splash", {}, {"dtype": jnp.bfloat16}),
        ("no dropout", "splash", {"drop": Drawn(jax.random.key(0), 0.1)}, {"dtype": jnp.bfloat16, "features": 64}),
        ("no mask", "splash", {"mask": jnp.ones((1, 1, 1, 70), bool)}, {"dtype": jnp.bfloat16, "features": 64}),
        ("nearest: composed", "compose", {}, {}),
    ],
)
def test_a_kernel_that_was_chosen_by_hand_says_why_it_cannot(why, kernel, more, shape):
    with pytest.raises(InputError, match=why):
        attend(*projections(**shape), kernel=kernel, **more)


@pytest.mark.parametrize(
    ("says", "platform"),
    [("PJRT C API\ncuda 12090", "cuda"), ("cuda 12090", "cuda"), ("PJRT C API\nrocm 60300", "rocm")],
)
def test_whose_gpu_it_is(monkeypatch, says, platform):
    device = types.SimpleNamespace(client=types.SimpleNamespace(platform_version=says))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert dispatch.target() == platform


def test_examples_that_devices_do_not_divide_are_left_to_xla():
    q, k, v = projections(128, 1024, features=64, dtype=jnp.bfloat16)
    with places.divided(make_mesh({"data": -1}), ("data",)):
        assert not splash.serves(Asked(q, k, Seen()))
        with pytest.raises(InputError, match="2 examples can't be divided among 8 devices"):
            attend(q, k, v, kernel="splash")
    with places.divided(make_mesh({"data": 2, "model": 4}), ("data",)):
        assert splash.serves(Asked(q, k, Seen()))
