"""Every model is a chain: its stages compose to it, and its names, fields and modes are what they say."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jtransfer import models
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import inverted

SMALL = {
    "resnet": models.create("resnet18", 3, depths=(1, 1, 1, 1), image_size=32),
    "bottleneck": models.create("resnet50", 3, depths=(1, 1, 1, 1), image_size=32),
    "vgg": models.create("vgg11_bn", 3, width=8, image_size=32),
    "vgg without top": models.create("vgg11", 3, include_top=False, head_width=8, image_size=32),
    "lite": models.create("efficientnet_lite0", 3, depth=0.1, image_size=32),
    "convnext": models.create("convnext_tiny", 3, depths=(1, 1, 1, 1), widths=(8, 16, 32, 64), image_size=32),
    "densenet": models.create("densenet121", 3, depths=(1, 1, 1, 1), growth=8, features=8, image_size=32),
    "efficientnet": models.create("efficientnet_b0", 3, width=0.25, depth=0.1, image_size=32),
    "swin": models.create("swin_tiny", 3, depths=(1, 2), width=8, num_heads=(1, 2), window=3, image_size=32),
    "clip image": models.create(
        "clip_image_base_patch32", 3, width=16, depth=2, num_heads=2, mlp_dim=16, patch=16, image_size=32
    ),
}


@functools.cache
def variables(key):
    model = SMALL[key]
    return jax.jit(model.init)(jax.random.key(0), model.example_input(1))


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), model.example_input(2))


@pytest.mark.parametrize("name", small.IMAGE_MODELS)
def test_stages_run_one_after_the_other_are_the_model(name):
    model = models.create(name, 7, image_size=64)
    abstract, image = shapes(model), jax.eval_shape(lambda: model.example_input(2))
    x = image
    for start, stop in zip(model.stages, (*model.stages[1:], None), strict=True):
        x = jax.eval_shape(lambda v, x, a=start, b=stop: model.apply(v, x, start=a, stop=b), abstract, x)
    assert model.stages[-1] == "head"
    assert (x.shape, x.dtype) == ((2, 7), jnp.float32)
    assert set(abstract["params"]) <= set(model.stages)


@pytest.mark.parametrize("key", SMALL)
def test_a_model_is_what_comes_before_a_stage_and_then_the_rest(key):
    model = SMALL[key]
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))

    @jax.jit
    def run(v, x):
        return model.apply(v, x), [model.apply(v, model.apply(v, x, stop=s), start=s) for s in model.stages]

    whole, parts = run(variables(key), images)
    spread = np.ptp(whole)
    assert spread > 1e-7  # gates make fresh networks faint
    for part in parts:
        np.testing.assert_allclose(part / spread, whole / spread, rtol=1e-5, atol=1e-5)


def test_parameter_counts_are_the_published_ones():
    counts = {
        "resnet18": 11_689_512,
        "resnet34": 21_797_672,
        "resnet50": 25_557_032,
        "resnet101": 44_549_160,
        "resnet152": 60_192_808,
        "vgg11": 132_863_336,
        "vgg16": 138_357_544,
        "vgg19_bn": 143_678_248,
        "efficientnet_lite0": 4_652_008,
        "efficientnet_lite4": 13_006_568,
        "efficientnet_b0": 5_288_548,
        "efficientnet_b2": 9_109_994,
        "efficientnet_b4": 19_341_616,
        "efficientnet_b7": 66_347_960,
        "mobilenet_v2": 3_504_872,
        "mobilenet_v3_small": 2_542_856,
        "mobilenet_v3_large": 5_483_032,
        "densenet121": 7_978_856,
        "densenet201": 20_013_928,
        "convnext_tiny": 28_589_128,
        "convnext_large": 197_767_336,
        "swin_tiny": 28_288_354,
        "swin_small": 49_606_258,
        "swin_base": 87_768_224,
        "clip_base_patch32": 151_277_313,
        "clip_large_patch14": 427_616_513,
    }
    assert {name: trees.count(shapes(models.create(name))["params"]) for name in counts} == counts


def test_the_lite_models_have_their_own_resolutions():
    sizes = [models.create(f"efficientnet_lite{i}").preprocessing["size"] for i in range(5)]
    assert sizes == [224, 240, 260, 280, 300]
    assert models.create("resnet50").preprocessing["mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("key", "momentum"), [("resnet", 0.9), ("vgg", 0.9), ("lite", 0.99), ("efficientnet", 0.9)])
def test_batch_norm_moves_its_statistics_with_the_libraries_momentum(key, momentum):
    model = SMALL[key]
    images = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    first, second = model.stages[:2]

    def moved(offset):
        start = variables(key)
        start = {**start, "batch_stats": jax.tree.map(lambda x: x + offset, start["batch_stats"])}
        return model.apply(start, images, train=True, stop=second, mutable=["batch_stats"])[1]["batch_stats"][first]

    for low, high in zip(*map(jax.tree.leaves, (moved(0.0), moved(1.0))), strict=True):
        np.testing.assert_allclose(high - low, momentum, rtol=1e-4)


def test_dropout_is_on_in_training_alone():
    model = SMALL["vgg"]
    features = jnp.ones((2, 7 * 7 * 512))
    run = functools.partial(model.apply, variables("vgg"), features, start="fc")
    a, b = (run(train=True, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(run(), run(rngs={"dropout": jax.random.key(0)}))


def test_stochastic_depth_drops_whole_branches():
    block = inverted.Block(inverted.Widths(48, 8, 3, drop_path=0.5), inverted.Style(nn.relu6))
    x = jax.random.normal(jax.random.key(0), (64, 4, 4, 8))
    weights = block.init(jax.random.key(1), x)
    y, _ = block.apply(weights, x, train=True, rngs={"dropout": jax.random.key(2)}, mutable=["batch_stats"])
    branch = np.abs(y - x).max(axis=(1, 2, 3))
    assert 0 < np.sum(branch == 0) < 64


def test_the_computation_has_the_models_dtype_and_logits_are_float32():
    model = SMALL["lite"].clone(dtype=jnp.bfloat16)
    abstract = shapes(model)
    features = jax.eval_shape(lambda v: model.apply(v, model.example_input(2), stop="head"), abstract)
    logits = jax.eval_shape(lambda v: model.apply(v, model.example_input(2)), abstract)
    assert {leaf.dtype for leaf in jax.tree.leaves(abstract)} == {jnp.dtype("float32")}
    assert (features.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize("key", SMALL)
def test_layers_are_submodules_that_interceptors_reach(key):
    model, seen = SMALL[key], set()
    abstract, images = shapes(model), model.example_input(1)

    def note(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            assert "use_running_average" in kwargs
        if isinstance(context.module, nn.Dropout):
            assert "deterministic" in kwargs
        seen.add(context.module.path)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda v: model.apply(v, images), abstract)
    owners = {tuple(path.split("/")[1:-1]) for path in trees.flatten(abstract)}
    assert owners <= seen


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.create("resnet51"), "unknown model 'resnet51'; nearest: resnet50"),
        (lambda: models.create("vgg16", wdith=3), "unknown field of vgg16 'wdith'; nearest: width"),
        (lambda: SMALL["resnet"].apply({}, 0, stop="stage5"), "unknown stage 'stage5'; nearest: stage"),
        (lambda: SMALL["resnet"].apply({}, 0, start="head", stop="pool"), "stop='pool' comes before start='head'"),
    ],
)
def test_names_that_do_not_exist_are_answered_with_the_nearest(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_every_class_says_what_it_takes():
    takes = {
        name: models.create(name).takes
        for name in ("resnet18", "clip_text_base", "gpt2", "t5_small", "lstm", "bert_tiny")
    }
    assert takes == {"resnet18": ("image",)} | dict.fromkeys(list(takes)[1:], ("text",))
    assert models.create("clip_base_patch32").takes == ("image", "text")
    assert all(models.create(name).takes for name in models.names())


def test_fields_of_earlier_versions_have_todays_names():
    held = {"heads": 2, "mlp_width": 8, "text_heads": 3, "kv_heads": 1, "length": 9, "pooling": "token", "width": 4}
    today = {
        "num_heads": 2,
        "mlp_dim": 8,
        "text_num_heads": 3,
        "num_kv_heads": 1,
        "max_length": 9,
        "pooling": "cls",
        "width": 4,
    }
    assert models.upgrade_fields("vit_tiny_patch16", held) == today
    assert models.upgrade_fields("vit_tiny_patch16", today) == today
    assert models.upgrade_fields("net.py:Net", {"heads": 2, "pooling": "token"}) == {"heads": 2, "pooling": "token"}
    with pytest.raises(InputError, match=r"unknown field of vit_tiny_patch16 'heads'; nearest: .*head"):
        models.create("vit_tiny_patch16", heads=2)
