"""What is small and unpacks to much is refused in a process of its own, whose memory and time are measured; and damage
to what consists of several files."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib

import h5py
import hostile
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
import test_database
from hostile import entry, group, name, table, tensor, text
from test_formats_hostile import read_all, refused

from jtransfer.core.errors import InputError
from jtransfer.weights import formats

HUGE = 1 << 28
SMALL = 128  # MB that a refusal may take


def zeros(wbits):
    """`HUGE` zeros, packed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(packer.compress(bytes(1 << 24)) for _ in range(HUGE >> 24)) + packer.flush()


def zstd_zeros():
    """The same as one frame of Zstandard (RFC 8878): each block repeats one byte."""
    block, count = 1 << 17, HUGE >> 17
    headers = ((block << 3 | 1 << 1 | (i == count - 1)).to_bytes(3, "little") for i in range(count))
    return b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(header + b"\0" for header in headers)


def packed_zip(path, member, content=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as file:
        file.write(content)
        for _ in range(HUGE >> 24):
            file.write(bytes(1 << 24))


def h5(path):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("a", (1024, 1024), "f4", chunks=(1024, 1024), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zeros(15))


def keras(path):
    packed_zip(path, "model.weights.h5", b"\x89HDF\r\n\x1a\n")


def npz(path):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({HUGE // 4},)}}\n".encode()
    packed_zip(path, "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def zarr(compressor, data):
    def write(path):
        (path / "a").mkdir(parents=True)
        value = {"value_type": "np.ndarray", "skip_deserialize": False}
        tree = {"('a',)": {"key_metadata": [{"key": "a", "key_type": 2}], "value_metadata": value}}
        header = {"tree_metadata": tree, "use_ocdbt": False, "use_zarr3": False}
        (path / "_METADATA").write_text(json.dumps(header))
        array = {"zarr_format": 2, "shape": [1024, 1024], "chunks": [1024, 1024], "dtype": "<f4", "order": "C"}
        more = {"compressor": {"id": compressor, "level": 1}, "fill_value": None, "filters": None}
        (path / "a" / ".zarray").write_text(json.dumps(array | more | {"dimension_separator": "."}))
        (path / "a" / "0.0").write_bytes(data())

    return write


def database(path):
    """A leaf of 256 keys of one byte, each with a value of 2²⁰ zeros."""
    count, megabyte = HUGE >> 20, b"\x80\x80\x40"
    keys = b"\0" * (count - 1) + b"\1" * count + bytes(range(count))
    head = b"\0\0" + b"\x80\2" + keys + megabyte * count + b"\0" * count
    test_database.arrays(path)
    blocks = test_database.blocks((0, len(head), head), *[(1, 1 << 17, b"\0")] * (HUGE >> 17))
    test_database.rooted(path, test_database.packed(blocks))


def laughing(path):
    """Views of one number, each of 2³⁰."""
    views = {f"t{i}": tensor(None, 0, (2**30,), (0,)) for i in range(100)}
    path.write_bytes(hostile.torch_zip(table(**views)))


def many_members(path):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(50_000):
            archive.writestr(f"{i}", b"")


BOMBS = {
    "x.h5": h5,
    "x.keras": keras,
    "x.npz": npz,
    "zlib": zarr("zlib", lambda: zeros(15)),
    "gzip": zarr("gzip", lambda: zeros(31)),
    "zstd": zarr("zstd", zstd_zeros),
    "ocdbt": database,
    "views.pth": laughing,
    "packed.pth": lambda path: packed_zip(path, "a/data.pkl"),
    "members.npz": many_members,
    "header.safetensors": lambda path: path.write_bytes(hostile.safetensors(b"[" * 50_000_000)),
    "x.safetensors": lambda path: path.write_bytes(hostile.safetensors({"a": entry((2**40,), (0, 2**42))})),
}
CHILD = """
import pathlib, re, sys, time
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
import h5py, tensorstore

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

before, start = peak(), time.process_time()
try:
    for lazy in formats.open(sys.argv[1]).values():
        lazy.read()
except InputError as error:
    print(peak() - before, time.process_time() - start, error, sep="\\n")
"""


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_in_little_memory_and_time(case, tmp_path):
    path = tmp_path / case
    BOMBS[case](path)
    argv = [sys.executable, "-W", "ignore", "-c", CHILD, str(path)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout, "it was read"
    memory, seconds, error = done.stdout.strip().split("\n")
    assert error.startswith(str(path))
    assert float(memory) < SMALL
    assert float(seconds) < 10


def sharded(folder, kind):
    """A checkpoint of two shards and an index."""
    folder.mkdir()
    if kind == "safetensors":
        index, shards = "model.safetensors.index.json", ("1.safetensors", "2.safetensors")
        for shard, key in zip(shards, "ab", strict=True):
            safetensors.numpy.save_file({key: np.arange(6, dtype=np.float32).reshape(2, 3)}, folder / shard)
    else:
        index, shards = "pytorch_model.bin.index.json", ("1.bin", "2.bin")
        for shard, key, write in zip(shards, "ab", (hostile.torch_zip, hostile.torch_legacy), strict=True):
            (folder / shard).write_bytes(write(table(**{key: tensor()})))
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": dict(zip("ab", shards, strict=True))}))
    return folder / index, [folder / shard for shard in shards]


@pytest.mark.parametrize("sixteenths", range(16))
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_a_cut_index_and_a_cut_shard_are_named(kind, sixteenths, tmp_path):
    index, shards = sharded(tmp_path / "x", kind)
    assert list(formats.open(tmp_path / "x")) == ["a", "b"]
    for victim in (index, *shards):
        whole = victim.read_bytes()
        victim.write_bytes(whole[: len(whole) * sixteenths // 16])
        with pytest.raises(InputError) as caught:
            read_all(tmp_path / "x")
        assert str(caught.value).startswith(str(victim))
        victim.write_bytes(whole)


INDEXES = {
    "not JSON": (b"{weight_map", "JSON is damaged"),
    "not UTF-8": (b'{"weight_map": {"\xff": "1.bin"}}', "JSON is damaged"),
    "a list": (b"[]", "does not begin with an object"),
    "deep": (b'{"weight_map":' + b"[" * 100_000, "JSON is damaged"),
    "twice": (b'{"weight_map": {"a": "1.bin", "a": "2.bin"}}', "'a' twice"),
    "no map": (b'{"metadata": {}}', "no weight_map"),
    "escape": (b'{"weight_map": {"a": "../1.bin"}}', "not a weights file in the same folder"),
    "absolute": (b'{"weight_map": {"a": "/etc/passwd"}}', "not a weights file in the same folder"),
    "address": (b'{"weight_map": {"a": "hf://org/1.bin"}}', "not a weights file in the same folder"),
    "itself": (b'{"weight_map": {"a": "pytorch_model.bin.index.json"}}', "not a weights file in the same folder"),
    "elsewhere": (b'{"weight_map": {"a": "2.bin"}}', "not where it says: 'a' in 2.bin"),
    "absent": (b'{"weight_map": {"a": "3.bin"}}', "cannot be opened"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_an_index_of_torch(case, tmp_path):
    content, reason = INDEXES[case]
    index, _ = sharded(tmp_path / "x", "torch")
    index.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        formats.open(tmp_path / "x")
    assert str(caught.value).startswith(str(tmp_path / "x"))


@pytest.mark.parametrize("dotted", hostile.GLOBALS[:10])
def test_a_shard_that_asks_for_more_is_refused_by_name(dotted, tmp_path):
    _, shards = sharded(tmp_path / "x", "torch")
    shards[0].write_bytes(hostile.torch_zip(table(a=tensor(), b=name(dotted) + group(text("id > owned")) + b"R")))
    with pytest.raises(InputError, match=f"1.bin: refused: the pickle asks for '{dotted}'"):
        formats.open(tmp_path / "x")


def archive(kind):
    buffer = io.BytesIO()
    if kind == "npz":
        np.savez(buffer, a=np.arange(6, dtype=np.float32), b=np.ones(3))
    else:
        inner = io.BytesIO()
        with h5py.File(inner, "w") as file:
            file["a"] = np.arange(6, dtype=np.float32)
        with zipfile.ZipFile(buffer, "w") as writer:
            writer.writestr("model.weights.h5", inner.getvalue())
            writer.writestr("config.json", "{}")
    return buffer.getvalue()


LIES = {
    "directory elsewhere": lambda end, first: (end + 16, struct.pack("<I", 1)),
    "more entries": lambda end, first: (end + 8, struct.pack("<HH", 999, 999)),
    "another disk": lambda end, first: (end + 4, struct.pack("<H", 1)),
    "header outside": lambda end, first: (first + 42, struct.pack("<I", 2**31)),
    "size beyond the file": lambda end, first: (first + 20, struct.pack("<II", 2**31, 2**31)),
    "size lies": lambda end, first: (first + 20, struct.pack("<II", 23, 23)),
    "encrypted": lambda end, first: (first + 8, b"\x01\0"),
    "method 99": lambda end, first: (first + 10, b"\x63\0"),
}


@pytest.mark.parametrize("kind", ["npz", "keras"])
@pytest.mark.parametrize("case", LIES)
def test_an_archive_that_lies(case, kind, tmp_path):
    data = bytearray(archive(kind))
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    assert "a" in formats.open(path)
    at, value = LIES[case](data.rindex(b"PK\x05\x06"), data.index(b"PK\x01\x02"))
    data[at : at + len(value)] = value
    path.write_bytes(data)
    refused(path, "zip")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orbax")
    tree = {"a": np.arange(600, dtype=np.float32).reshape(20, 30), "b": {"c": np.arange(7, dtype=np.int32)}}
    for title, options in {"zarr": {}, "zarr3": {"use_zarr3": True}, "ocdbt": {"use_ocdbt": True}}.items():
        with ocp.PyTreeCheckpointer(**{"use_ocdbt": False} | options) as writer:
            writer.save(folder / title, tree)
    return folder, {"a": tree["a"], "b/c": tree["b"]["c"]}


@pytest.mark.parametrize("title", ["zarr", "zarr3", "ocdbt"])
def test_orbax_cut_at_each_sixteenth_is_refused_or_read_as_it_was(title, written, tmp_path):
    folder, expected = written
    copy = shutil.copytree(folder / title, tmp_path / "x")
    refusals = 0
    for victim in sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size):
        whole = victim.read_bytes()
        for sixteenths in range(16):
            victim.write_bytes(whole[: len(whole) * sixteenths // 16])
            try:
                found = {key: lazy.read() for key, lazy in formats.open(copy).items()}
            except InputError as error:
                assert str(error).startswith(str(copy))  # noqa: PT017
                refusals += 1
                continue
            for key, value in expected.items():
                np.testing.assert_array_equal(found[key], value, err_msg=f"{victim} at {sixteenths}/16")
        victim.write_bytes(whole)
    assert refusals > 32


@pytest.mark.parametrize("title", ["zarr", "zarr3", "ocdbt"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: [file.unlink(), os.mkfifo(file)],
        lambda file: [file.unlink(), file.symlink_to("/dev/zero")],
        lambda file: os.mkfifo(file.with_name("pipe")),
    ],
)
def test_what_would_be_waited_for_is_refused(title, damage, written, tmp_path):
    copy = shutil.copytree(written[0] / title, tmp_path / "x")
    inside = [path for path in copy.rglob("*") if path.is_file() and path.parent != copy]
    damage(max(inside, key=lambda path: path.stat().st_size))
    refused(copy, "not a regular file")


@pytest.mark.parametrize("file", ["_METADATA", "manifest.ocdbt"])
def test_a_file_of_holes_is_not_read_whole(file, written, tmp_path):
    os.truncate((copy := shutil.copytree(written[0] / "ocdbt", tmp_path / "x")) / file, 1 << 40)
    refused(copy, "at most|damaged")
