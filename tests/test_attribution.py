"""What a prediction rests on: exact in cases by hand, and as torch's autograd has it."""

from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jtransfer import attribution, models
from jtransfer.core.errors import InputError
from jtransfer.models.chain import Chain
from jtransfer.models.forward import initialize

TORCH = dict(np.load(Path(__file__).parent / "attribution.npz"))


class Part(nn.Module):
    """A stage that is a function of layers."""

    make: object
    then: object

    @nn.compact
    def __call__(self, x, *, train=False):
        return self.then(x if self.make is None else self.make(name="make")(x))


class Convolutions(Chain):
    def parts(self):
        valid = partial(nn.Conv, kernel_size=(3, 3), padding="VALID")
        return {
            "stem": partial(Part, partial(valid, 6, strides=2), nn.relu),
            "top": partial(Part, partial(valid, 8), jnp.tanh),
            "pool": partial(Part, None, lambda x: jnp.square(x).mean((1, 2))),
            "head": partial(Part, partial(nn.Dense, 5), lambda x: x),
        }


class Words(Chain):
    def parts(self):
        return {
            "embed": partial(Part, partial(nn.Embed, 20, 6), lambda x: {"x": x, "mask": jnp.ones(x.shape[:2], bool)}),
            "layer": partial(Part, None, lambda given: given["x"]),
            "dense": partial(Part, partial(nn.Dense, 7), lambda x: jnp.exp(jnp.tanh(x).mean(1))),
            "head": partial(Part, partial(nn.Dense, 4), lambda x: x),
        }


def kernels(prefix, **layers):
    """The variables of a chain with one layer in each of these stages."""
    params = {}
    for stage, (kind, name, key) in layers.items():
        kernel = TORCH[f"{prefix}/{name}.weight"]
        axes = {4: (2, 3, 1, 0), 2: (1, 0)}[kernel.ndim]
        held = {key: kernel if key == "embedding" else kernel.transpose(axes)}
        if f"{prefix}/{name}.bias" in TORCH:
            held["bias"] = TORCH[f"{prefix}/{name}.bias"]
        params[stage] = {"make": held} if kind else held
    return {"params": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)}


IMAGES = kernels("images", stem=(1, "stem", "kernel"), top=(1, "top", "kernel"), head=(1, "head", "kernel"))
TEXTS = kernels("words", embed=(1, "embed", "embedding"), dense=(1, "layer", "kernel"), head=(1, "head", "kernel"))


def test_grad_cam_is_torchs():
    x, classes = jnp.asarray(TORCH["x"], jnp.float32), TORCH["classes"]
    found = attribution.explain(Convolutions(), IMAGES, x, classes)
    assert (found.how, found.at) == ("Grad-CAM", "top")
    assert TORCH["cam"].max() > 0
    np.testing.assert_allclose(found.values, TORCH["cam"], atol=1e-6)
    np.testing.assert_allclose(attribution.grad_cam(Convolutions(), IMAGES, x, classes, "top"), found.values, atol=1e-7)


def test_gradient_times_input_of_tokens_is_torchs():
    found = attribution.explain(Words(), TEXTS, jnp.asarray(TORCH["ids"]), TORCH["kinds"])
    assert (found.how, found.at) == ("gradient × input", "embed")
    np.testing.assert_allclose(found.values, TORCH["words"], atol=1e-6)


def test_gradient_times_input_of_numbers_is_torchs_without_any_stages():
    model = nn.Sequential([jnp.exp, nn.Dense(4)])
    variables = {"params": {"layers_1": TEXTS["params"]["head"]["make"]}}
    found = attribution.explain(model, variables, jnp.asarray(TORCH["vectors"], jnp.float32), TORCH["kinds"])
    assert (found.how, found.at) == ("gradient × input", "")
    np.testing.assert_allclose(found.values, TORCH["numbers"], atol=1e-5)


class Linear(Chain):
    """The map is the image; the output is twice the mean of the first channel less the mean of the second."""

    def parts(self):
        return {
            "same": partial(Part, None, lambda x: x),
            "head": partial(Part, None, lambda x: (x * jnp.array([2.0, -1.0])).mean((1, 2)).sum(-1, keepdims=True)),
        }


def test_grad_cam_by_hand():
    # ∂y/∂A is 2/4 and −1/4 everywhere, so that the map is relu(a/2 − b/4)
    image = jnp.array([[[[4.0, 0.0], [0.0, 4.0]], [[2.0, 4.0], [8.0, 4.0]]]])
    found = attribution.grad_cam(Linear(), {}, image, jnp.zeros(1, int))
    np.testing.assert_array_equal(found, [[[2.0, 0.0], [0.0, 3.0]]])


def test_gradient_times_input_of_a_linear_model_adds_up_to_its_output():
    model = nn.Dense(3, use_bias=False)
    x = jax.random.normal(jax.random.key(1), (4, 6))
    variables, targets = model.init(jax.random.key(0), x), jnp.array([0, 2, 1, 1])
    found = attribution.gradient_input(model, variables, x, targets)
    np.testing.assert_allclose(found.sum(1), model.apply(variables, x)[jnp.arange(4), targets], atol=1e-6)


SMALL = {
    "resnet18": ({"depths": (1, 1), "image_size": 16}, "stage2"),
    "vit_tiny_patch16": ({"depth": 2, "image_size": (32, 48), "width": 16, "num_heads": 2, "mlp_dim": 16}, "layer_0"),
    "vit_base_patch16_siglip": (
        {"depth": 2, "image_size": 32, "width": 16, "num_heads": 2, "mlp_dim": 16},
        "layer_1",
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_last_map_of_a_chain_is_found(name):
    fields, at = SMALL[name]
    model = models.create(name, num_classes=3, **fields)
    x = model.example_input(2)
    variables = jax.eval_shape(lambda: initialize(model, jax.random.key(0), x))
    assert attribution.spatial_stage(model, variables, x) == at
    maps = jax.eval_shape(partial(attribution.grad_cam, model), variables, x, jnp.zeros(2, int))
    assert maps.shape[0] == 2
    assert maps.shape[1] / maps.shape[2] == pytest.approx(x.shape[1] / x.shape[2])


@pytest.mark.parametrize(
    ("shape", "sides", "found"),
    [
        ((2, 7, 5, 8), (224, 160), (7, 5, 0)),
        ((2, 1, 1, 8), (224, 224), None),
        ((2, 197, 8), (224, 224), (14, 14, 1)),
        ((2, 198, 8), (224, 224), (14, 14, 2)),
        ((2, 196, 8), (224, 224), (14, 14, 0)),
        ((2, 7, 8), (32, 48), (2, 3, 1)),
        ((2, 50, 8), (224, 224), (7, 7, 1)),
        ((2, 8), (224, 224), None),
        ((2, 23, 8), (224, 224), None),
    ],
)
def test_places_are_told_from_further_tokens(shape, sides, found):
    assert attribution.grid(jax.ShapeDtypeStruct(shape, jnp.float32), sides) == found


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: attribution.explain(nn.Conv(2, (3, 3)), {}, jnp.zeros((1, 4, 4, 1)), [0]), "Conv has no stages"),
        (lambda: attribution.grad_cam(Words(), TEXTS, jnp.asarray(TORCH["ids"]), [0]), "no stage that returns a map"),
        (lambda: attribution.gradient_input(Words(), TEXTS, jnp.asarray(TORCH["ids"]), [0]), "not one array"),
        (lambda: attribution.gradient_input(Words(), TEXTS, jnp.asarray(TORCH["ids"]), [0], "tail"), "tail"),
        (
            lambda: attribution.grad_cam(Convolutions(), IMAGES, jnp.asarray(TORCH["x"], jnp.float32), [0] * 3, "pool"),
            "no map",
        ),
    ],
)
def test_what_has_no_attribution_is_told_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
