"""Damaged and hostile files: each is refused in one line with its name and the reason, in bounded time and memory."""

import json
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import hostile
import numpy as np
import pytest
import safetensors.numpy
from hostile import entry, group, name, number, storage, table, tensor, text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jtransfer.core.errors import InputError
from jtransfer.weights import formats

CORPUS = Path(__file__).parent / "corpus"
REDUCE_EMPTY = b")R"
TENSOR = hostile.tensor()


def read_all(path):
    return [lazy.read() for lazy in formats.open(path).values()]


def refused(path, reason):
    """Opens a file, or fails unless it is refused for the reason, within 10 s and 64 MB."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(InputError, match=reason) as caught:
            read_all(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.monotonic() - start < 10
    assert peak < 64e6


@pytest.mark.parametrize("write", [hostile.torch_zip, hostile.torch_legacy])
@pytest.mark.parametrize("dotted", hostile.GLOBALS)
def test_globals_are_refused_by_name(tmp_path, dotted, write):
    path = tmp_path / "x.pth"
    attack = name(dotted) + group(text("id > owned")) + b"R"
    path.write_bytes(write(table(a=TENSOR, b=attack)))
    refused(path, f"refused: the pickle asks for '{dotted}'")
    attack = text(dotted.rpartition(".")[0]) + text(dotted.rpartition(".")[2]) + b"\x93"
    path.write_bytes(write(table(a=TENSOR, b=attack)))
    refused(path, f"refused: the pickle asks for '{dotted}'")


def test_there_are_more_than_forty_globals():
    assert len(set(hostile.GLOBALS)) > 40


PICKLES = {
    "a dtype is called": (table(a=name("torch.float32") + REDUCE_EMPTY), "calls 'torch.float32'"),
    "a storage type is called": (table(a=name("torch.FloatStorage") + group(number(2**40)) + b"R"), "calls"),
    "state on a tensor": (table(a=TENSOR + table(shape=number(1)) + b"b"), "damaged"),
    "state on a global": (name("argparse.Namespace") + table(a=number(1)) + b"b", "damaged"),
    "attributes of a tensor subclass": (
        table(a=name("torch._tensor._rebuild_from_type_v2") + group(name("torch.Tensor"), b"N", b")", b"}") + b"R"),
        "subclass",
    ),
    "instance opcode": (b"(" + b"ios\nsystem\n", "opcode b'i'"),
    "object opcode": (b"(" + name("os.system") + b"o", "os.system"),
    "extension opcode": (b"\x82\x01", "opcode"),
    "duplicate opcode": (b"]" + b"2" * 50, "opcode b'2'"),
    "text integers": (b"I1\n", "opcode b'I'"),
    "text persistent id": (b"Pos.system\n", "opcode b'P'"),
    "out-of-band buffer": (b"\x97", "opcode"),
    "protocol 6": (b"\x80\x06N", "protocol 6"),
    "no stack": (b"0", "operand is missing"),
    "no mark": (b"t", "mark is missing"),
    "no memo": (b"h\x05", "memo 5"),
    "append to a tuple": (b")" + b"N" + b"a", "wrong kind"),
    "odd dict": (b"}(NNNu", "no value"),
    "dict key is a list": (b"}]Ns", "dict key"),
    "dict key is a nest of tuples": (b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns", "dict key"),
    "dict keys that collide": (b"}(" + b"\x8a\x08" + struct.pack("<q", 2**61 - 1) + b"Nu", "dict key"),
    "integer of a megabyte": (b"\x8b" + struct.pack("<i", 2**20) + bytes(2**20), "integer of"),
    "integer of negative length": (b"\x8b" + struct.pack("<i", -1), "integer of"),
    "string of 4 GB": (b"X\xff\xff\xff\xff", "longer than"),
    "string of 2^60 bytes": (b"\x8d" + struct.pack("<Q", 2**60), "longer than"),
    "string is not text": (b"X\1\0\0\0\xff", "not UTF-8"),
    "endless name of a global": (b"c" + b"o" * 5000 + b"\nx\n", "over 256 bytes"),
    "persistent id is a string": (text("../../etc/passwd") + b"Q", "persistent id"),
    "persistent id of another kind": (group(text("file"), *[text("0")] * 4) + b"Q", "persistent id"),
    "no tensors": (table(a=number(1)), "no tensors|list of storages"),
    "a list": (b"]", "no tensors|list of storages"),
    "a tensor alone": (TENSOR, "single tensor"),
    "several state dicts": (table(left=table(a=TENSOR), right=table(a=TENSOR)), "several state dicts: 'left', 'right'"),
    "storage of negative size": (table(a=tensor(storage("0", -6))), "persistent id"),
    "storage is longer than declared": (table(a=tensor(storage("0", 5), 0, (5,), (1,))), "storage '0' should have"),
    "storage of 2^47": (table(a=tensor(storage("0", 2**47), 0, (2**47,), (1,))), "storage '0' should have"),
    "other storage": (table(a=tensor(storage("../0"))), "storage"),
    "unknown storage type": (table(a=tensor(storage("0", 6, "torch.QInt8Storage"))), "QInt8Storage"),
    "unknown dtype": (
        table(
            a=name("torch._utils._rebuild_tensor_v3")
            + group(storage(), number(0), b")", b")", b"\x89", b"N", name("torch.FloatStorage"))
            + b"R"
        ),
        "dtype 'torch.FloatStorage' is not read",
    ),
    "size beyond the storage": (table(a=tensor(None, 0, (3, 3), (3, 1))), "reaches to byte 36 of storage '0'"),
    "offset beyond the storage": (table(a=tensor(None, 1)), "reaches to byte 28"),
    "offset of 2^62": (table(a=tensor(None, 2**62)), "impossible"),
    "negative offset": (table(a=tensor(None, -1)), "impossible"),
    "stride beyond the storage": (table(a=tensor(None, 0, (2, 3), (4, 1))), "reaches to byte 28"),
    "negative stride": (table(a=tensor(None, 5, (2, 3), (-3, -1))), "impossible"),
    "negative size": (table(a=tensor(None, 0, (-1, 3), (3, 1))), "impossible"),
    "sizes that overflow": (table(a=tensor(None, 0, (2**33, 2**33), (0, 0))), "impossible shape"),
    "empty sizes that overflow": (table(a=tensor(None, 0, (0, 2**47, 2**47), (1, 1, 1))), "impossible shape"),
    "another number of strides": (table(a=tensor(None, 0, (2, 3), (1,))), "impossible"),
    "100 dimensions": (table(a=tensor(None, 0, (1,) * 100, (1,) * 100)), "impossible"),
    "size is a bool": (table(a=tensor(None, 0, (2, 3), (3, 1)).replace(b"J\x02\0\0\0", b"\x88")), "impossible"),
    "repeated view": (table(a=tensor(None, 0, (2**40,), (0,))), "bomb"),
    "many repeated views": (table(**{f"t{i}": tensor(None, 0, (2**22,), (0,)) for i in range(5)}), "bomb"),
    "conjugate view": (
        table(a=TENSOR[:-2] + table(conj=b"\x88") + b"tR"),
        "conjugate",
    ),
    "OrderedDict of a number": (name("collections.OrderedDict") + group(number(3)) + b"R", "OrderedDict"),
    "OrderedDict of long pairs": (name("collections.OrderedDict") + group(b"](NNNte") + b"R", "OrderedDict|damaged"),
}


@pytest.mark.parametrize("write", [hostile.torch_zip, hostile.torch_legacy])
@pytest.mark.parametrize("case", PICKLES)
def test_pickles(tmp_path, case, write):
    body, reason = PICKLES[case]
    path = tmp_path / "x.pth"
    path.write_bytes(write(body))
    refused(path, reason)


def laughs(depth):
    """A list of ten references to a list of ten references to …: 10^depth leaves, a few hundred bytes."""
    layers = [b"0](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(depth)]
    return b"](" + text("ha") * 10 + b"eq\x00" + b"".join(layers)


BOMBS = {
    "billion laughs": table(a=TENSOR, b=laughs(40)),
    "a dict in itself": b"}q\x00("
    + text("model")
    + b"h\x00"
    + text("state_dict")
    + b"h\x00"
    + text("a")
    + TENSOR
    + b"u",
    "wrappers in wrappers": b"}q\x00("
    + b"".join(text(w) + b"h\x00" for w in ("model", "state_dict", "net", "ema", "teacher", "student", "params"))
    + text("a")
    + TENSOR
    + b"u",
    "deep nest": table(a=TENSOR, b=b"N" + b"\x85" * 200_000),
    "deep wrappers": (b"}" + text("model")) * 500 + table(a=TENSOR) + b"s" * 500,
}


@pytest.mark.parametrize("case", BOMBS)
def test_inert_growth_is_harmless(tmp_path, case):
    """Growth that needs somebody to walk the object: nobody does."""
    path = tmp_path / "x.pth"
    path.write_bytes(hostile.torch_zip(BOMBS[case]))
    tracemalloc.start()
    start = time.monotonic()
    try:
        assert list(formats.open(path)) == ["a"]
    except InputError as error:
        assert case == "deep wrappers" and "no tensors" in str(error)  # noqa: PT017, PT018
    assert time.monotonic() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 64e6
    tracemalloc.stop()


def test_work_is_bounded(tmp_path):
    """The worst pickles for their size, in a process of its own: seconds, and less than a gigabyte."""
    copies = name("collections.OrderedDict") + b"q\x01" + b"](" + (text("k") + b"N\x86") * 30_000 + b"eq\x00"
    worst = {
        "dicts": b"}" * 6_000_000,
        "marks": b"(" * 6_000_000,
        "memo": b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(4_100_000)),
        "copies": copies + b"h\x01h\x00\x85R" * 1000,
        "collisions": b"}" + b"(" + b"".join(b"J" + struct.pack("<i", i) + b"\x85N" for i in range(10_000)) + b"u",
    }
    for case, body in worst.items():
        (tmp_path / f"{case}.pth").write_bytes(hostile.torch_zip(body))
    script = """
import pathlib, re, sys, time
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        formats.open(path)
        sys.exit(f"{path} was read")
    except InputError as error:
        assert "takes more than" in str(error), error
    assert time.process_time() - start < 20, path
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1_500_000


def patched(data, at, value):
    return data[:at] + value + data[at + len(value) :]


ZIP = hostile.torch_zip(table(a=TENSOR))
CENTRAL = ZIP.index(b"PK\x01\x02")
SECOND = ZIP.index(b"PK\x01\x02", CENTRAL + 1)
LOCAL2 = ZIP.index(b"PK\x03\x04", 1)
END = ZIP.rindex(b"PK\x05\x06")
ZIPS = {
    "directory elsewhere": (patched(ZIP, END + 16, struct.pack("<I", 1)), "not where"),
    "directory longer": (patched(ZIP, END + 12, struct.pack("<I", 2**31)), "not where"),
    "more entries": (patched(ZIP, END + 8, struct.pack("<HH", 999, 999)), "not where"),
    "one entry more": (patched(ZIP, END + 8, struct.pack("<HH", 3, 3)), "ends early|not where|damaged"),
    "entries of another disk": (patched(ZIP, END + 8, struct.pack("<HH", 1, 2)), "split"),
    "second disk": (patched(ZIP, END + 4, struct.pack("<H", 1)), "split"),
    "rest after the end": (ZIP + b"rest", "after its end"),
    "no end": (ZIP[:END], "no end record"),
    "header outside": (patched(ZIP, SECOND + 42, struct.pack("<I", 2**31)), "outside"),
    "header overlaps": (patched(ZIP, SECOND + 42, struct.pack("<I", 0)), "differently|no local"),
    "size beyond the file": (patched(ZIP, SECOND + 20, struct.pack("<II", 2**31, 2**31)), "differently|beyond"),
    "size lies in the directory": (patched(ZIP, SECOND + 20, struct.pack("<II", 23, 23)), "differently"),
    "size lies in the header": (patched(ZIP, LOCAL2 + 18, struct.pack("<II", 23, 23)), "differently"),
    "name differs": (patched(ZIP, LOCAL2 + 30, b"a/dada"), "differently"),
    "method differs": (patched(ZIP, LOCAL2 + 8, b"\x08\0"), "differently"),
    "encrypted": (patched(ZIP, SECOND + 8, b"\x01\0"), "encrypted"),
    "method 99": (patched(ZIP, SECOND + 10, b"\x63\0"), "method 99"),
    "compressed record": (hostile.torch_zip(table(a=TENSOR), method=zipfile.ZIP_DEFLATED), "is compressed"),
    "short record": (hostile.torch_zip(table(a=TENSOR), {"0": bytes(20)}), "should have 24 bytes, its record has 20"),
    "no record": (hostile.torch_zip(table(a=TENSOR), {"1": bytes(24)}), "no record"),
    "bad byte order": (hostile.torch_zip(table(a=TENSOR), byteorder=b"middle"), "byte order"),
    "two pickles": (hostile.torch_zip(table(a=TENSOR), **{"b/data.pkl": b""}), "exactly one"),
    "a bomb": (hostile.torch_zip(text("A" * 30_000_000), {}, zipfile.ZIP_DEFLATED), "is compressed"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_zips(tmp_path, case):
    data, reason = ZIPS[case]
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    refused(path, reason)


def test_zip_members_that_overlap(tmp_path):
    """Two entries of the directory for one local header: the start of every overlapping bomb."""
    entry_size = SECOND - CENTRAL
    twin = ZIP[CENTRAL:SECOND].replace(b"a/data.pkl", b"a/data.pkm")
    data = patched(ZIP, 0, ZIP[:CENTRAL]).replace(ZIP[CENTRAL:], ZIP[CENTRAL:SECOND] + twin + ZIP[SECOND:])
    end = END + entry_size
    data = patched(data, end + 8, struct.pack("<HHI", 3, 3, end - CENTRAL))
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    refused(path, "differently|overlaps")


SAFETENSORS = {
    "header longer than the file": (hostile.safetensors({"a": entry()}, length=10_000), "header declares"),
    "header of 2^63": (hostile.safetensors({"a": entry()}, length=2**63), "header declares"),
    "header shorter": (hostile.safetensors({"a": entry()}, length=10), "JSON is damaged"),
    "no header": (struct.pack("<Q", 0), "does not begin"),
    "a list": (hostile.safetensors([]), "does not begin"),
    "not JSON": (hostile.safetensors(b"{nothing}"), "JSON is damaged"),
    "not UTF-8": (hostile.safetensors(b'{"\xff": 1}'), "JSON is damaged"),
    "deep JSON": (hostile.safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "JSON is damaged"),
    "huge integer": (hostile.safetensors(b'{"a":' + b"9" * 10_000 + b"}"), "JSON is damaged"),
    "infinity": (hostile.safetensors(b'{"a": Infinity}'), "number Infinity"),
    "duplicate key": (hostile.safetensors(b'{"a": 1, "a": 1}'), "'a' twice"),
    "duplicate key inside": (
        hostile.safetensors(b'{"a":{"dtype":"F32","dtype":"F64","shape":[2,3],"data_offsets":[0,24]}}'),
        "'dtype' twice",
    ),
    "entry is no object": (hostile.safetensors({"a": [1]}), "not described"),
    "missing field": (hostile.safetensors({"a": {"dtype": "F32", "shape": [6]}}), "not described"),
    "additional field": (hostile.safetensors({"a": entry() | {"x": 1}}), "not described"),
    "dtype is no string": (hostile.safetensors({"a": entry(dtype=[1])}), "not described"),
    "unknown dtype": (hostile.safetensors({"a": entry(dtype="F31")}), "dtype 'F31'.*nearest: F3"),
    "three offsets": (hostile.safetensors({"a": entry(offsets=(0, 12, 24))}), "not described"),
    "reversed offsets": (hostile.safetensors({"a": entry(offsets=(24, 0))}), "needs 24 bytes"),
    "negative offset": (hostile.safetensors({"a": entry(offsets=(-24, 0))}), "not a natural number"),
    "offset is a fraction": (hostile.safetensors({"a": entry(offsets=(0, 24.0))}), "not a natural number"),
    "offset is a bool": (hostile.safetensors({"a": entry((), (False, 4))}), "not a natural number"),
    "negative size": (hostile.safetensors({"a": entry((-2, -3))}), "not a natural number"),
    "sizes that overflow": (hostile.safetensors({"a": entry((2**33, 2**33))}), "impossible shape"),
    "empty sizes that overflow": (hostile.safetensors({"a": entry((0, 2**61), (0, 0))}, b""), "impossible shape"),
    "100 dimensions": (hostile.safetensors({"a": entry((1,) * 100, (0, 4))}), "100 dimensions"),
    "shape is larger": (hostile.safetensors({"a": entry((2, 4))}), "needs 32 bytes for F32"),
    "shape bomb": (hostile.safetensors({"a": entry((2**40,), (0, 2**42))}), "the file holds 24"),
    "overlap": (hostile.safetensors({"a": entry((4,), (0, 16)), "b": entry((3,), (12, 24))}), "'b' begins.*over other"),
    "same bytes twice": (hostile.safetensors({"a": entry(), "b": entry()}), "'b' begins at byte 0, over"),
    "hole": (hostile.safetensors({"a": entry((2,), (0, 8)), "b": entry((2,), (16, 24))}), "'b' begins.*gap of 8"),
    "hole at the start": (hostile.safetensors({"a": entry((5,), (4, 24))}), "'a' begins.*gap of 4"),
    "bytes after the last": (hostile.safetensors({"a": entry()}, bytes(25)), "file holds 25"),
    "out of bounds": (hostile.safetensors({"a": entry()}, bytes(23)), "file holds 23"),
    "metadata is no table": (hostile.safetensors({"__metadata__": 3, "a": entry()}), "__metadata__"),
    "metadata of numbers": (hostile.safetensors({"__metadata__": {"x": 3}, "a": entry()}), "__metadata__"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(tmp_path, case):
    data, reason = SAFETENSORS[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    refused(path, reason)


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": "../x.safetensors"}, "not a weights file in the same folder"),
        ({"a": "/etc/passwd"}, "not a weights file in the same folder"),
        ({"a": "sub/x.safetensors"}, "not a weights file in the same folder"),
        ({"a": "..\\x.safetensors"}, "not a weights file in the same folder"),
        ({"a": "."}, "not a weights file in the same folder"),
        ({"a": "passwd"}, "not a weights file in the same folder"),
        ({"a": "x.safetensors\0"}, "not a weights file in the same folder"),
        ({"a": "model.safetensors.index.json"}, "not a weights file in the same folder"),
        ({"a": "y.safetensors"}, "cannot be opened"),
        ({"a": "x.safetensors", "b": "x.safetensors"}, "1 tensors of the index.*'b' in x.safetensors"),
        ({"a": 3}, "no weight_map"),
        ([], "no weight_map"),
        ({str(i): f"{i}.safetensors" for i in range(10_001)}, "at most 10,000"),
    ],
)
def test_index(tmp_path, weight_map, reason):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "x.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=reason):
        formats.open(tmp_path)


def test_folders_and_special_files(tmp_path):
    for path, reason in [
        (tmp_path / "absent.pth", "cannot be opened: No such file"),
        (tmp_path, "without an index or a single weights file"),
        (Path("/dev/zero"), "not a regular file"),
    ]:
        refused(path, reason)
    for title, data in {
        "a.bin": b"",
        "b.bin": b"what is this",
        "c.bin": pickle.dumps([1]),
        "d.bin": bytes(600),
    }.items():
        (tmp_path / title).write_bytes(data)
        refused(tmp_path / title, "is empty|bare pickle|no format")
    refused(tmp_path, "several: a.bin, b.bin")


def seeds():
    numbers = {"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.int8)}
    header = {"a": entry((6,), (0, 24)), "b": entry((2, 2), (24, 28), "I8")}
    data = b"".join(value.tobytes() for value in numbers.values())
    names = ("zip.pth", "legacy.pth", "legacy_protocol4.pth", "wrapped.pth")
    return {
        "x.safetensors": hostile.safetensors(header, data),
        **{path: (CORPUS / path).read_bytes() for path in names},
    }


SEEDS = seeds()


@pytest.mark.parametrize("sixteenths", range(16))
@pytest.mark.parametrize("seed", SEEDS)
def test_truncations(tmp_path, seed, sixteenths):
    path = tmp_path / seed
    path.write_bytes(SEEDS[seed][: len(SEEDS[seed]) * sixteenths // 16])
    refused(path, ".")


def read_or_refuse(path):
    try:
        opened = formats.open(path)
        assert sum(tensor.nbytes for tensor in opened.values()) < 2**27
        for tensor in opened.values():
            array = tensor.read()
            assert (array.shape, array.dtype) == (tensor.shape, tensor.dtype)
            array.tobytes()
    except InputError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@st.composite
def damaged(draw, data):
    """`data` with some bytes replaced, removed or inserted, and perhaps cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        some = draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f"])))
        data[at : at + draw(st.sampled_from([len(some), 0, 1]))] = some
    return bytes(data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])


@pytest.mark.parametrize("seed", SEEDS)
def test_fuzz(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("fuzz") / seed

    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(SEEDS[seed]))
    def check(data):
        path.write_bytes(data)
        read_or_refuse(path)

    check()


OPCODES = [*b"NKJM(tlue]}).0aqhrjRbQs\x80\x85\x86\x87\x81\x88\x8f\x90\x91\x93\x94"]


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from([*b"NKJM(tlue]}).0aqhrjRbQs\x80\x85\x86\x87\x81\x88\x8f\x90\x91\x93\x94"]), max_size=60
    ).map(bytes)
)
def test_fuzz_opcodes(tmp_path_factory, code):
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "x.pth"
    path.write_bytes(hostile.torch_zip(TENSOR + name("collections.OrderedDict") + code + table(a=TENSOR)))
    read_or_refuse(path)
