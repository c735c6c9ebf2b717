"""What is wrong in a config's objective is one line before training, for every term of the registry."""

import inspect
import typing

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_shifted

from jtransfer import models, objectives, train
from jtransfer.core import fields
from jtransfer.core.errors import InputError
from jtransfer.objectives import TERMS

MODEL = models.create("mlp", 3, num_features=6, widths=(8, 8))
STREAMS = ("source", "target", "stream", "streams", "on")  # fields that name streams, and one that names a stage
STAGE = "at"
WRONG = (object(), {"a": 1}, [[1]], "x", True, 1.5, float("nan"), None, ("x", 1))  # of which each kind refuses some


def context():
    loss = objectives.create("softmax")
    streams = {name: objectives.Stream(loss, lambda *_: {}) for name in ("target", "source")}
    teachers = {"teacher": objectives.Teacher(MODEL.stages, lambda stage: (1, 8))}
    return objectives.Context(MODEL, streams, 10, teachers=teachers)


def told(entry):
    with pytest.raises(InputError) as error:
        objectives.make([entry], context())
    assert "\n" not in str(error.value)
    return str(error.value)


def fields_of(name):
    return list(inspect.signature(TERMS[name]).parameters)[1:]


@pytest.mark.parametrize("name", TERMS)
def test_a_field_that_there_is_not(name):
    assert f"unknown field of the objective term {name!r}: 'nowhere'" in told((name, {"nowhere": 1}))


@pytest.mark.parametrize("name", TERMS)
def test_a_field_of_a_wrong_kind(name):
    hints = typing.get_type_hints(TERMS[name], include_extras=True)
    for field in fields_of(name):
        wrong = [value for value in WRONG if not fields.is_of(value, hints[field])]
        assert wrong, f"{name}: {field} has no annotation that says what it takes"
        for value in wrong:
            assert f"{field}=" in (line := told((name, {field: value})))
            assert f"of {name!r} is of no kind that it takes; give " in line


@pytest.mark.parametrize(("name", "field"), [(name, f) for name in TERMS for f in fields_of(name) if f in STREAMS])
def test_a_stream_that_there_is_not(name, field):
    value = ("nowhere",) if field in ("on", "streams") else "nowhere"
    assert f"objective: {name!r} needs the stream 'nowhere'" in told((name, {field: value}))


@pytest.mark.parametrize("name", [name for name in TERMS if STAGE in fields_of(name)])
def test_a_stage_that_there_is_not(name):
    line = told((name, {STAGE: "hiden1"}))
    assert f"unknown stage that the objective term {name!r} looks at: 'hiden1'; nearest: hidden1" in line


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (np.inf, float, False),
        ("ab", typing.Sequence[str], False),
        (["ab"], tuple[str, ...], True),
        ([1, 2.5], typing.Sequence[int], False),
        ((1, 2), tuple[int, int], True),
        ((1,), tuple[int, int], False),
        (None, float | None, True),
        ("b", typing.Literal["a", "b"], True),
        ("c", typing.Literal["a", "b"], False),
        (3, dict[str, float], False),
        (3, typing.Any, True),
    ],
)
def test_kinds_are_told_by_annotations(value, kind, fits):
    assert fields.is_of(value, kind) == fits


def empty(config, folder):
    config.streams["source"]["data"]["train"] = "train[:0]"


def other_inputs(config, folder):
    arrays = dict(np.load(folder / "source.npz"))
    np.savez(folder / "wide.npz", **{k: np.tile(v, (1, 2)) if k[0] == "x" else v for k, v in arrays.items()})
    config.streams["source"]["data"]["name"] = f"npz:{folder}/wide.npz"


def without_labels(config, folder):
    arrays = {k: v for k, v in np.load(folder / "source.npz").items() if k[0] == "x"}
    np.savez(folder / "bare.npz", **arrays)
    config.streams["source"]["data"]["name"] = f"npz:{folder}/bare.npz"


def in_turns(config, folder):
    config.mixing.mode = "alternate"


def other_parameters(config, folder):
    config.objective = [("task", {"on": ["source"]}), ("l2sp", {"shared": "nowhere/.*"})]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (empty, "split 'train[:0]': selects no example"),
        (other_inputs, "the model can't take inputs of the shape [1, 12]"),
        (without_labels, "labels"),
        (in_turns, "set mixing.mode='batch'"),
        (other_parameters, "'nowhere/.*'"),
    ],
)
def test_streams_that_do_not_fit_are_told_before_anything_is_written(spoil, says, tmp_path):
    config = tiny_shifted.config_of(tmp_path)
    spoil(config, tmp_path)
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [name for name in TERMS if {"source", "target", STAGE} <= set(fields_of(name))])
def test_features_of_other_widths_are_told(name):
    def outputs(width):
        return {"hidden2": jnp.zeros((4, width)), "head": jnp.zeros((4, 3))}

    view = objectives.View(
        {"source": outputs(8), "target": outputs(9)},
        {name: {"mask": jnp.ones(4, bool), "target": jnp.zeros(4, int)} for name in ("source", "target")},
        variables={},
        initial=None,
        key=None,
        step=jnp.int32(0),
        forward=None,
        initially=lambda stream, stages: outputs(8),
    )
    term = objectives.make([name], context()).terms[name]
    with pytest.raises(InputError, match=f"'{name}' compares the stage 'hidden2' .* returns 8 .* 9 for the other"):
        term.loss(view)


SHAPES = """
import jax.numpy as jnp
from jtransfer.objectives import Term

def uneven(context):
    return Term(lambda view: ((jnp.ones((3,)) + jnp.ones((4,))).sum(), {}))
"""


def test_what_a_term_can_not_compute_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "own.py").write_text(SHAPES)
    config = tiny_shifted.config_of(tmp_path)
    config.objective = [("task", {"on": ["source"]}), f"{tmp_path}/own.py:uneven"]
    with pytest.raises(InputError, match="objective: 'uneven' can't be computed of the streams source, target"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
