"""Models of images that end with their features: `head="embed"`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import SMALL

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.weights import libraries

VIT = {"image_size": 16, "patch": 8, "width": 12, "depth": 1, "num_heads": 2, "mlp_dim": 16}
KINDS = {**SMALL, "vit": models.create("vit_tiny_patch16", 3, **VIT)}


@functools.cache
def filled(model):
    return jax.jit(model.init)(jax.random.key(0), model.example_input(1))


@pytest.mark.parametrize("key", KINDS)
def test_an_embedding_is_the_features_before_the_head_and_has_length_1(key):
    classifier = KINDS[key]
    embedder = classifier.clone(head="embed")
    variables = filled(classifier)
    bare = {kind: {name: part for name, part in tree.items() if name != "head"} for kind, tree in variables.items()}
    assert jax.tree.structure(bare) == jax.tree.structure(
        jax.eval_shape(embedder.init, jax.random.key(0), embedder.example_input(1))
    )
    x = jax.random.normal(jax.random.key(1), (2, *classifier.sides, 3))
    features, unit, plain = jax.jit(
        lambda v, x: (
            classifier.apply(v, x, stop="head"),
            embedder.apply(v, x),
            embedder.clone(normalize=False).apply(v, x),
        )
    )(variables, x)
    np.testing.assert_allclose(plain, features, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(unit * np.linalg.norm(features, axis=1, keepdims=True), features, rtol=1e-4, atol=1e-6)


def test_embeddings_are_float32_whatever_the_computation():
    model = SMALL["resnet"].clone(head="embed", dtype=jnp.bfloat16)
    found = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), model.example_input(2))[0])
    assert (found.shape, found.dtype) == ((2, 512), jnp.float32)


@pytest.mark.parametrize("scheme", ["timm", "transformers vit", "jtransfer"])
def test_the_head_of_a_classifiers_checkpoint_is_left_out_and_named(tmp_path, scheme):
    classifier = KINDS["vit"]
    variables = filled(classifier)
    path = weights.save(variables, classifier, tmp_path / "model.safetensors", scheme=scheme)
    loaded, report = weights.load(path, classifier.clone(head="embed"))
    assert "head" not in loaded["params"]
    for name, leaf in trees.flatten(loaded).items():
        np.testing.assert_array_equal(leaf, trees.flatten(variables)[name])
    ignored = {name.split("/")[-1].split(".")[-1]: why for name, why in report.ignored}
    assert set(ignored.values()) == {"the model has no head"}
    assert report.reinitialised == ()


def test_models_without_one_vector_of_each_image_say_so():
    for model in (
        models.create("deit_tiny_distilled_patch16", 3, **VIT, head="embed"),
        models.create("clip_base_patch32", 2, **VIT, text_width=8, text_depth=1, text_num_heads=2, head="embed"),
    ):
        with pytest.raises(InputError, match="head='embed' needs a model that makes one vector of each input"):
            jax.eval_shape(model.init, jax.random.key(0), model.example_input(1))
    with pytest.raises(InputError, match="unknown head 'lm'"):
        _ = models.create("resnet18", head="lm").stages


def test_an_embedder_is_exported_to_timm_as_a_model_without_classes():
    model = KINDS["vit"].clone(head="embed")
    variables = {"params": {name: part for name, part in filled(KINDS["vit"])["params"].items() if name != "head"}}
    config = libraries.timm("vit_tiny_patch16", model, ())
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 0
    assert "model_args" in config
    assert not any("head" in name for name in libraries.tensors(variables, model, "timm"))
    with pytest.raises(InputError, match="transformers has no ViT without a classifier; export it to timm"):
        libraries.tensors(variables, model, "transformers")
