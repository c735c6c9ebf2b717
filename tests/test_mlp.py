"""Multilayer perceptrons: logits equal to torch's, sizes told by a file alone, names that torch loads strictly."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jtransfer import models, weights
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.identify.detect import detect
from jtransfer.weights.save import to_tensors

FOLDER = Path(__file__).parent / "references" / "mlp"
CASES = {  # what torch's modules in make_mlp_references.py are
    "acoustic": {"num_features": 80, "widths": (16, 12, 8), "num_classes": 10, "activation": "relu"},
    "dropout": {"num_features": 6, "widths": (5, 4), "num_classes": 3, "activation": "tanh"},
    "wrapped": {"num_features": 6, "widths": (5,), "num_classes": 3, "activation": "sigmoid"},
}
UNSURE = {"acoustic": ("activation",), "dropout": ("activation", "dropout"), "wrapped": ("activation",)}


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def stored(case):
    with np.load(FOLDER / f"{case}.npz") as file:
        return file["inputs"], file["logits"]


def tiny(**fields):
    model = models.create("mlp", 3, num_features=6, widths=(5, 4), **fields)
    return model, model.init(jax.random.key(0), model.example_input(1))


def test_a_file_shows_all_sizes_and_gives_torchs_logits(case):
    model, variables, report = weights.restore(FOLDER / f"{case}.pth", activation=CASES[case]["activation"])
    assert {name: getattr(model, name) for name in CASES[case]} == CASES[case]
    assert (report.reinitialised, report.ignored) == ((), ())
    inputs, logits = stored(case)
    np.testing.assert_allclose(model.apply(variables, inputs), logits, rtol=0, atol=1e-6)
    assert weights.describe(FOLDER / f"{case}.pth").unsure == UNSURE[case]
    assert detect(formats.open(FOLDER / f"{case}.pth")).misfits == 0


def test_names_and_numbers_come_back(case, tmp_path):
    source = formats.open(FOLDER / f"{case}.pth")
    model, variables, report = weights.restore(FOLDER / f"{case}.pth")
    again = to_tensors(variables, model, scheme=report.scheme)
    prefix = "net." if case == "wrapped" else ""
    assert {f"{prefix}{name}" for name in again} == set(source)
    for name, array in again.items():
        np.testing.assert_array_equal(array, source[f"{prefix}{name}"].read())
    weights.save(variables, model, tmp_path / "new.safetensors")
    assert trees.flatten(weights.restore(tmp_path / "new.safetensors")[1]).keys() == trees.flatten(variables).keys()


def test_torch_loads_what_is_written_and_gives_the_same_logits(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load

    for dropout, step in ((0.0, 2), (0.5, 3)):
        model, variables = tiny(dropout=dropout)
        path = weights.save(variables, model, tmp_path / f"{step}.safetensors")
        linear, relu, drop = torch.nn.Linear, torch.nn.ReLU(), [torch.nn.Dropout(dropout)] * (step - 2)
        theirs = torch.nn.Sequential(linear(6, 5), relu, *drop, linear(5, 4), relu, *drop, linear(4, 3)).eval()
        theirs.load_state_dict(load(path), strict=True)
        inputs = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
        with torch.no_grad():
            expected = theirs(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(model.apply(variables, inputs), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", ["net.", "layers.", "model.", "linear_relu_stack."])
def test_a_sequential_may_be_an_attribute(prefix, tmp_path):
    model, variables = tiny()
    tensors = {f"{prefix}{name}": array for name, array in to_tensors(variables, model).items()}
    save_file(tensors, tmp_path / "new.safetensors")
    again, back, _ = weights.restore(tmp_path / "new.safetensors")
    assert again == model
    for path, leaf in trees.flatten(variables).items():
        np.testing.assert_array_equal(trees.flatten(back)[path], leaf)


@pytest.mark.parametrize(
    "shapes",
    [
        {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "2.weight": (4, 8), "2.bias": (4,)},
        {"0.weight": (8, 3), "0.bias": (8,), "2.weight": (4, 9), "2.bias": (4,)},
        {"0.weight": (8, 3), "2.weight": (4, 8)},
        {"0.weight": (8, 3), "0.bias": (8,), "1.weight": (8,), "1.bias": (8,), "3.weight": (4, 8), "3.bias": (4,)},
        {"a.0.weight": (8, 3), "a.0.bias": (8,), "b.2.weight": (4, 8), "b.2.bias": (4,)},
    ],
    ids=["convolution", "no chain", "no biases", "batch norm", "two networks"],
)
def test_other_layers_are_not_taken_for_a_perceptron(shapes):
    assert detect({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}) is None


def test_another_head_and_other_sizes_are_told(tmp_path):
    model, _, report = weights.restore(FOLDER / "acoustic.pth", num_classes=4)
    assert (model.num_classes, model.widths) == (4, (16, 12, 8))
    assert [path for path, _ in report.reinitialised] == ["head/dense/bias", "head/dense/kernel"]
    with pytest.raises(InputError, match=r"hidden1/dense/kernel: the model has \[40, 16\]"):
        weights.restore(FOLDER / "acoustic.pth", num_features=40)


def test_a_model_is_what_comes_before_a_stage_and_then_the_rest():
    model, variables = tiny(activation="gelu")
    assert model.stages == ("hidden1", "hidden2", "head")
    inputs = jax.random.normal(jax.random.key(1), (7, 6))
    for stage in model.stages:
        rest = model.apply(variables, model.apply(variables, inputs, stop=stage), start=stage)
        np.testing.assert_array_equal(rest, model.apply(variables, inputs))


def test_dropout_is_of_training_and_logits_are_float32():
    model, variables = tiny(dropout=0.5, dtype=jnp.bfloat16)
    inputs = jax.random.normal(jax.random.key(1), (7, 6))
    assert model.apply(variables, inputs).dtype == jnp.float32
    assert model.apply(variables, inputs, stop="head").dtype == jnp.bfloat16
    trained = model.apply(variables, inputs, train=True, rngs={"dropout": jax.random.key(2)}, stop="hidden2")
    assert 0.2 < np.mean(np.asarray(trained, np.float32) == 0) < 0.95


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"activation": "relo"}, "unknown activation 'relo'; nearest: relu"), ({"widths": ()}, "one hidden layer")],
)
def test_fields_that_make_no_network_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        models.create("mlp", **fields).stages  # noqa: B018


def test_torch_names_are_written_with_the_gaps_of_its_dropout(tmp_path):
    for dropout, numbers in ((0.0, (0, 2, 4)), (0.1, (0, 3, 6))):
        model, variables = tiny(dropout=dropout)
        path = weights.save(variables, model, tmp_path / f"{dropout}.safetensors")
        assert set(load_file(path)) == {f"{i}.{kind}" for i in numbers for kind in ("weight", "bias")}
