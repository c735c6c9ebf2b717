"""LSTM and GRU encoders: logits equal to torch's and Keras's, and padding that changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import decoders, encoders
from safetensors.numpy import load_file, save_file

from jtransfer import models, weights
from jtransfer.core.errors import InputError
from jtransfer.weights import maps
from jtransfer.weights.save import to_tensors

CASES = sorted(path.stem for path in (encoders.FOLDER.parent / "recurrent").glob("*.npz"))
TINY = {"vocab_size": 61, "width": 5, "features": 4, "depth": 2}
KINDS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru before": {"cell": "gru", "reset_after": False, "biases": 1},
    "forward": {"cell": "lstm", "bidirectional": False, "biases": 0},
}


@functools.cache
def tiny(kind, **fields):
    model = models.create("lstm", 5, **TINY, **KINDS[kind], **fields)
    return model, jax.jit(model.init)(jax.random.key(0), model.example_input())


@functools.cache
def forward(model):
    return jax.jit(model.apply)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def load(case):
    """Spec, stored outputs and tensors of a case."""
    spec, stored = decoders.load(f"../recurrent/{case}")
    return spec, stored, {name: references.fill(name, tuple(shape)) for name, shape in spec["shapes"].items()}


def test_logits_equal_torch_and_keras(case):
    spec, stored, tensors = load(case)
    for pooling in ("last", "mean", "max", "tokens"):
        kind = {"head": "tag"} if pooling == "tokens" else {"pooling": pooling}
        model = models.create("lstm", references.CLASSES, **spec["fields"], **kind)
        variables, report = weights.load(tensors, model)
        assert (report.reinitialised, report.ignored) == ((), ())
        for n in encoders.LENGTHS:
            given = encoders.inputs(n, 0, segments=False)
            found = forward(model)(variables, given)
            found = found[given["attention_mask"].astype(bool)] if pooling == "tokens" else found
            np.testing.assert_allclose(found, stored[f"{pooling} {n}"], rtol=0, atol=1e-5)


def test_what_is_saved_is_what_was_there(case):
    spec, _, tensors = load(case)
    model = models.create("lstm", references.CLASSES, **spec["fields"])
    variables, _ = weights.load(tensors, model)
    again = to_tensors(variables, model, scheme=case.split("_")[0])
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)


def test_a_file_shows_all_sizes(case, tmp_path):
    spec, stored, tensors = load(case)
    save_file(tensors, tmp_path / "sentiment.safetensors")
    model, variables, _ = weights.restore(tmp_path / "sentiment.safetensors")
    assert {name: getattr(model, name) for name in spec["fields"]} == spec["fields"]
    assert weights.describe(tmp_path / "sentiment.safetensors").unsure == ("pooling",)
    given = encoders.inputs(7, 0, segments=False)
    np.testing.assert_allclose(forward(model)(variables, given), stored["last 7"], rtol=0, atol=1e-5)
    weights.save(variables, model, tmp_path / "again.safetensors", scheme=case.split("_")[0])
    assert load_file(tmp_path / "again.safetensors").keys() == tensors.keys()


def test_layers_alone_and_other_names_of_the_embedding_and_the_head():
    _, _, tensors = load("torch_gru")
    names = {"embedding.weight": "embed.weight", "fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}
    renamed = {names.get(name, name.replace("gru.", "rnn.")): tensor for name, tensor in tensors.items()}
    model = models.create("gru", references.CLASSES, **load("torch_gru")[0]["fields"])
    for found in (weights.load(renamed, model)[0], weights.load(tensors, model)[0]):
        np.testing.assert_array_equal(
            found["params"]["layer_1"]["backward"]["kernel"], tensors["gru.weight_ih_l1_reverse"].T
        )


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_wherever_it_is(kind, pooling):
    model, variables = tiny(kind, pooling=pooling)
    whole = model.apply(variables, {"input_ids": np.array([[5, 6, 7]], np.int32)})
    rows = [[5, 6, 7, 0, 0], [0, 0, 5, 6, 7], [5, 0, 6, 0, 7]]
    mask = (np.array(rows) > 0).astype(np.int32)
    for junk in (0, 9):
        ids = np.where(mask, rows, junk).astype(np.int32)
        found = model.apply(variables, {"input_ids": ids, "attention_mask": mask})
        np.testing.assert_allclose(found, np.repeat(whole, 3, axis=0), rtol=1e-5, atol=1e-6)
    empty = {"input_ids": ids, "attention_mask": np.zeros_like(mask)}
    assert np.isfinite(model.apply(variables, empty)).all()

    def loss(params):
        return jnp.square(model.apply({"params": params}, {"input_ids": ids, "attention_mask": mask * 0})).sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(loss)(variables["params"])))


@pytest.mark.parametrize("head", ["classify", "tag", "embed"])
@pytest.mark.parametrize("kind", ["lstm", "gru before"])
def test_stages_in_two_parts_give_the_whole(kind, head):
    model, variables = tiny(kind, head=head)
    given = encoders.inputs(7, 0, segments=False)
    whole = model.apply(variables, given)
    shape = {"classify": (3, 5), "tag": (3, 7, 5), "embed": (3, 8)}[head]
    assert (whole.shape, whole.dtype) == (shape, jnp.float32)
    for stage in model.stages:
        before = model.apply(variables, given, stop=stage)
        assert {len(leaf) for leaf in jax.tree.leaves(before)} == {3}
        np.testing.assert_array_equal(model.apply(variables, before, start=stage), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_dropout_is_of_training(kind):
    model, variables = tiny(kind)
    given, rngs = encoders.inputs(7, 0, segments=False), {"dropout": jax.random.key(1)}

    def loss(params):
        return jnp.square(model.apply({"params": params}, given, train=True, rngs=rngs)).mean()

    for leaf in jax.tree.leaves(jax.grad(loss)(variables["params"])):
        assert np.abs(leaf).max() > 0
    assert loss(variables["params"]) != jnp.square(model.apply(variables, given)).mean()


def test_bfloat16_computes_and_gives_float32():
    (model, variables), (half, _) = tiny("lstm"), tiny("lstm", dtype=jnp.bfloat16)
    given = encoders.inputs(7, 0, segments=False)
    assert half.apply(variables, given, stop="pool")["x"].dtype == jnp.bfloat16
    np.testing.assert_allclose(half.apply(variables, given), model.apply(variables, given), atol=0.02)


def test_libraries_without_such_a_cell_have_no_names_for_it():
    found = {kind: [scheme.name for scheme in maps.schemes(tiny(kind)[0])] for kind in KINDS}
    assert found == {
        "lstm": ["torch"],
        "gru": ["torch", "keras"],
        "gru before": ["keras"],
        "forward": ["torch", "keras"],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "lstn"}, "unknown cell 'lstn'; nearest: lstm"),
        ({"pooling": "lost"}, "unknown pooling 'lost'; nearest: last"),
        ({"head": "tagg"}, "unknown head 'tagg'; nearest: tag"),
        ({"biases": 3}, "biases=3; a cell has 0, 1 or 2"),
    ],
)
def test_an_unknown_choice_is_named(fields, message):
    with pytest.raises(InputError, match=message):
        models.create("lstm", **fields).stages  # noqa: B018
