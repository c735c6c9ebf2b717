"""What training programs keep beside the weights is inert: it does not stand in the way, and nothing of it is run."""

import struct
import sys
from pathlib import Path

import hostile
import numpy as np
import pytest
import safetensors
from hostile import entry, group, name, number, table, text

from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats import inert

CORPUS = Path(__file__).parent / "corpus"
TENSOR = hostile.tensor()


@pytest.mark.parametrize("file", ["extras.pth", "extras_legacy.pth"])
def test_metrics_arguments_paths_and_dates_beside_a_state_dict(file):
    opened = formats.open(CORPUS / file)
    np.testing.assert_array_equal(opened["weight"].read(), np.arange(6.0).reshape(2, 3))
    assert list(opened) == ["weight"]
    assert {"best", "losses", "args", "history", "rng"} <= set(opened.left_out)


def test_numpys_names_before_version_2(tmp_path):
    data = (CORPUS / "extras_legacy.pth").read_bytes()
    assert b"cnumpy._core.multiarray\n" in data
    path = tmp_path / "x.pth"
    path.write_bytes(data.replace(b"cnumpy._core.", b"cnumpy.core."))
    assert list(formats.open(path)) == ["weight"]


@pytest.mark.parametrize("dotted", sorted(inert.GLOBALS))
def test_nothing_that_is_named_is_imported_called_or_kept(dotted, tmp_path):
    path = tmp_path / "x.pth"
    called = name(dotted) + group(text("id > owned")) + b"R"
    path.write_bytes(hostile.torch_zip(table(a=TENSOR, b=called)))
    before = set(sys.modules)
    try:
        assert list(formats.open(path)) == ["a"]
    except InputError as error:
        assert "refused: the pickle calls" in str(error) or "has arguments" in str(error)  # noqa: PT017
    assert not {module for module in set(sys.modules) - before if not module.startswith(("jtransfer", "encodings"))}


STATES = {
    "tuple": group(number(1), text("x")),
    "dict": table(shape=number(1)),
    "list": b"]",
    "tensor": TENSOR,
}


@pytest.mark.parametrize("state", STATES)
def test_state_of_an_array_is_dropped(state, tmp_path):
    path = tmp_path / "x.pth"
    array = (
        name("numpy.core.multiarray._reconstruct") + group(name("numpy.ndarray"), group(number(0)), text("b")) + b"R"
    )
    path.write_bytes(hostile.torch_zip(table(a=TENSOR, b=array + STATES[state] + b"b")))
    assert list(formats.open(path)) == ["a"]


def test_an_array_is_no_tensor_and_a_dict_takes_no_other_state(tmp_path):
    path = tmp_path / "x.pth"
    array = name("numpy._core.multiarray.scalar") + group(text("f8"), text("12345678")) + b"R"
    path.write_bytes(hostile.torch_zip(table(a=array)))
    with pytest.raises(InputError, match="holds no tensors by name"):
        formats.open(path)
    path.write_bytes(hostile.torch_zip(b"}" + group(number(1)) + b"b"))
    with pytest.raises(InputError, match="damaged"):
        formats.open(path)


def test_copies_of_a_table_are_charged(tmp_path):
    """A defaultdict over a dict is a copy: a thousand of one that is large are refused."""
    big = b"}(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(5000)) + b"uq\x00"
    copies = name("collections.defaultdict") + b"q\x01" + big + b"h\x01h\x00\x85R" * 1000
    path = tmp_path / "x.pth"
    path.write_bytes(hostile.torch_zip(copies))
    with pytest.raises(InputError, match="steps"):
        formats.open(path)


METADATA = {
    "absent": ({}, True),
    "empty": ({"__metadata__": {}}, True),
    "null": ({"__metadata__": None}, True),
    "text": ({"__metadata__": {"format": "pt"}}, True),
    "a null in it": ({"__metadata__": {"format": None}}, False),
    "a number in it": ({"__metadata__": {"step": 3}}, False),
    "a table in it": ({"__metadata__": {"x": {}}}, False),
    "a list": ({"__metadata__": []}, False),
    "a number": ({"__metadata__": 3}, False),
    "false": ({"__metadata__": False}, False),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_of_safetensors_as_the_library_takes_it(case, tmp_path):
    metadata, taken = METADATA[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(hostile.safetensors(metadata | {"a": entry()}))
    if taken:
        with safetensors.safe_open(path, "np") as theirs:
            assert theirs.keys() == list(formats.open(path)) == ["a"]
        assert formats.open(path).metadata == (metadata.get("__metadata__") or {})
    else:
        with pytest.raises(safetensors.SafetensorError), safetensors.safe_open(path, "np"):
            pass
        with pytest.raises(InputError, match="__metadata__ is not a table of strings"):
            formats.open(path)
