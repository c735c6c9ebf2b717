"""Words for the layers that are usually adapted, and the fields of a row, on a model of each family."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jtransfer import models, peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError

MODELS = {  # of each family → fields, how many layers "all-linear" stands for, and how many "attention"
    "resnet18": ({"depths": (1, 1, 1, 1), "image_size": 32}, 11, None),
    "resnext50_32x4d": ({"depths": (1, 1), "image_size": 32}, 8, None),
    "vgg11": ({"width": 8, "image_size": 32}, 9, None),
    "efficientnet_b0": ({"depth": 0.1, "image_size": 32}, 28, None),
    "convnext_tiny": ({"depths": (1, 1, 1, 1), "image_size": 32}, 11, None),
    "mobilenet_v2": ({"image_size": 32}, 34, None),
    "mobilenet_v3_small": ({"image_size": 32}, 41, None),
    "densenet121": ({"depths": (1, 1), "image_size": 32}, 5, None),
    "vit_tiny_patch16": ({"depth": 2, "image_size": 32}, 12, 8),
    "deit_tiny_distilled_patch16": ({"depth": 2, "image_size": 32}, 12, 8),
    "dinov2_small": ({"depth": 2, "image_size": 28}, 12, 8),
    "swin_tiny": ({"depths": (1, 1), "num_heads": (3, 6), "image_size": 56}, 13, 8),
    "clip_base_patch32": ({}, 146, 96),
    "gpt2": ({"depth": 2}, 12, 8),
    "llama3_2_1b": ({"depth": 2}, 14, 8),
    "t5_small": ({"depth": 2}, 32, 24),
    "bart_base": ({"depth": 2}, 32, 24),
    "bert_base": ({"depth": 2}, 13, 8),
    "roberta_base": ({"depth": 2}, 12, 8),
    "distilbert_base": ({"depth": 2}, 12, 8),
    "lstm": ({}, 1, None),
    "mlp": ({}, 2, None),
}


def sites_of(model, x):
    return peft.sites(model, jax.eval_shape(model.init, jax.random.key(0), x), x)


@pytest.mark.parametrize("name", MODELS)
def test_all_linear_is_what_it_says_in_every_family(name):
    fields, linear, attention = MODELS[name]
    model = models.create(name, 3, **fields)
    sites = sites_of(model, model.example_input(1))
    found = [adapter.site for adapter in peft.plan([("all-linear", "lora", {})], sites)]
    assert len(found) == linear
    assert not any(site.path.startswith("head/") or site.tied for site in found)
    if attention is None:
        with pytest.raises(InputError, match="no layers that 'attention' stands for"):
            peft.plan([("attention", "lora", {})], sites)
    else:
        assert len(peft.plan([("attention", "lora", {})], sites)) == attention


def test_every_family_is_tried():
    families = {type(models.create(name)).__module__ for name in MODELS}
    assert {type(models.create(name)).__module__ for name in models.names()} <= families


def test_all_linear_of_bert_base_has_as_many_parameters_as_in_the_reference():
    model = models.create("bert_base", 2)
    x = model.example_input(1)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    rows, sites = [("all-linear", "lora", {"rank": 8})], peft.sites(model, variables, x)
    made = jax.eval_shape(lambda params: peft.init(jax.random.key(1), rows, sites, params), variables["params"])
    count = sum(leaf.size for path, leaf in trees.flatten(made).items() if "/fixed/" not in path)
    assert count == 1_339_392


class Plain(nn.Module):
    """A model of a user's, without stages: the layer that is called last is its head."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), name="first")(x)
        x = nn.Conv(6, (3, 3), feature_group_count=6, name="depthwise")(x)
        x = nn.Conv(8, (1, 1), name="second")(x).reshape(len(x), -1, 8)
        x = nn.MultiHeadDotProductAttention(2, name="mixer")(x)
        return nn.Dense(3)(nn.Dense(5)(x.mean(1)))


def test_a_model_from_elsewhere_has_its_last_layer_for_a_head():
    sites = sites_of(Plain(), jnp.ones((2, 4, 4, 3)))
    paths = {word: {adapter.site.path for adapter in peft.plan([(word, "lora", {})], sites)} for word in peft.WORDS}
    attention = {f"mixer/{name}" for name in ("query", "key", "value", "out")}
    assert paths["attention"] == attention
    assert paths["all-linear"] == attention | {"second", "Dense_1"}


@pytest.mark.parametrize(
    "fields", [{"rank": "8"}, {"rank": 8.0}, {"rank": True}, {"alpha": float("nan")}, {"rslora": 1}]
)
def test_a_field_of_another_kind_is_one_line(fields):
    name, value = next(iter(fields.items()))
    with pytest.raises(InputError, match=f"adapters: {name}={value!r} of 'lora' is of no kind that it takes"):
        peft.plan([("all-linear", "lora", fields)], sites_of(Plain(), jnp.ones((2, 4, 4, 3))))
