"""npz, msgpack, Keras and Orbax: values, laziness, sub-trees, and refusal of what is damaged or hostile."""

import io
import json
import shutil
import struct
import zipfile
from pathlib import Path

import flax.serialization
import h5py
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import HealthCheck, given, settings
from test_formats import assert_same
from test_formats_hostile import damaged, read_or_refuse, refused

from jtransfer.core.errors import InputError
from jtransfer.weights import formats

CORPUS = Path(__file__).parent / "corpus"
SILENT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def arrays():
    row = np.arange(12, dtype=np.float32) - 5
    return {
        "embedding/kernel": row.reshape(3, 4),
        "embedding/bias": row.astype(ml_dtypes.bfloat16),
        "cls": row.reshape(1, 1, 12).astype(np.float16),
        "head/kernel": np.asfortranarray(row.reshape(3, 4).astype(np.float64)),
        "head/bias": row > 0,
        "pos": np.zeros((0, 3), np.int64),
        "scale": np.array(2, np.int32),
    }


def nested(flat):
    tree = {}
    for path, value in flat.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("prefix", ["", "params/", "params/img/", "opt/target/"])
def test_npz(tmp_path, prefix, save):
    beside = {"opt/state/step": np.array(3), "opt_state/x": np.array(3)} if prefix == "opt/target/" else {}
    save(tmp_path / "x.npz", **{prefix + name: value for name, value in arrays().items()}, **beside)
    opened = formats.open(tmp_path / "x.npz")
    assert "".join(opened.unwrapped) == prefix
    assert set(opened.left_out) == set(beside)
    assert opened.keys() == arrays().keys()
    for name, value in arrays().items():
        assert_same(opened[name], np.ascontiguousarray(value).reshape(value.shape))


def test_sub_tree(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{"params/img/head/kernel": np.ones(3), "params/img/cls": np.ones(2), "params/txt/cls": np.ones(1)})
    assert list(formats.open(path)) == ["img/head/kernel", "img/cls", "txt/cls"]
    assert list(formats.open(f"{path}:img")) == ["head/kernel", "cls"]
    assert formats.open(f"{path}:img/head")["kernel"].shape == (3,)
    assert formats.open(f"{path}:img/head").unwrapped == ("params/", "img/head/")
    with pytest.raises(InputError, match="no sub-tree 'imh/head'; nearest: img/head"):
        formats.open(f"{path}:imh/head")
    assert formats.split(f"{path}:img/head") == (str(path), "img/head")
    assert formats.split(str(path)) == (str(path), "")


def npy(descr="'<f4'", shape="(2, 3)", data=bytes(24), header=None, begin=b"\x93NUMPY\x01\x00", length=None):
    text = (
        header if header is not None else f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    )
    return begin + struct.pack("<H", len(text) if length is None else length) + text + data


NPY = {
    "not npy": (b"no numbers here", "no .npy header"),
    "version 9": (npy(begin=b"\x93NUMPY\x09\x00"), "no .npy header"),
    "header longer": (npy(length=60_000), "no .npy header"),
    "code": (npy(header=b"__import__('os').system('id')"), "damaged .npy header"),
    "code in the shape": (npy(shape="(print(1),)"), "damaged .npy header"),
    "deep literal": (npy(header=b"(" * 9000), "damaged .npy header"),
    "deep tuple": (npy(header=b"(" * 90 + b")" * 90), "damaged .npy header"),
    "sum": (npy(shape="(10**9+10j,)"), "damaged .npy header"),
    "another field": (npy(header=b"{'descr':'<f4','fortran_order':False,'shape':(6,),'x':1}"), "damaged .npy header"),
    "shape is a list": (npy(shape="[6]"), "damaged .npy header"),
    "shape of bools": (npy(shape="(True,)", data=bytes(4)), "damaged .npy header"),
    "negative size": (npy(shape="(-2, -3)"), "impossible shape"),
    "sizes that overflow": (npy(shape="(2**33,)"), "damaged .npy header"),
    "huge sizes": (npy(shape=f"({2**33}, {2**33})"), "impossible shape"),
    "shape bomb": (npy(shape=f"({2**40},)"), "needs 4,398,046,511,104 bytes"),
    "too few bytes": (npy(data=bytes(23)), "it has 23"),
    "too many bytes": (npy(data=bytes(25)), "it has 25"),
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("case", NPY)
def test_npz_headers(tmp_path, case, method):
    data, reason = NPY[case]
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("a.npy", data)
    refused(tmp_path / "x.npz", reason)


def test_npz_objects_and_strings_are_left_out(tmp_path):
    np.savez(
        tmp_path / "x.npz", a=np.ones(2), b=np.array([print], object), c=np.array(["text"]), d=np.zeros(2, "f4,i4")
    )
    opened = formats.open(tmp_path / "x.npz")
    assert (list(opened), opened.left_out) == (["a"], ("b", "c", "d"))


def test_npz_bombs(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(2**25, np.float32))
    refused(path, "refused as a bomb")
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    refused(path, "declares 2,147,483,648 bytes|differently")
    np.savez_compressed(path, a=np.arange(1000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path, "damaged")


def test_msgpack(tmp_path):
    path = tmp_path / "flax_model.msgpack"
    flat = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays().items()}
    state = {"params": nested(flat), "step": 3, "rate": 0.5, "name": "run", "none": None, "list": {"0": 1}}
    path.write_bytes(flax.serialization.msgpack_serialize(state | {"z": np.float32(2), "w": 1j}))
    opened = formats.open(path)
    assert set(opened.left_out) == {"step", "rate", "name", "none", "list/0", "w"}
    for name, value in flat.items():
        assert_same(opened["params/" + name], value)
    assert_same(opened["z"], np.array(2, np.float32))
    path.write_bytes(flax.serialization.msgpack_serialize({"params": nested(flat), "opt_state": {"mu": np.ones(2)}}))
    opened = formats.open(path)
    assert opened.keys() == flat.keys()
    assert (opened.unwrapped, opened.left_out) == (("params/",), ("opt_state/mu",))


def test_msgpack_chunked_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 64)
    value = np.arange(60, dtype=np.float32).reshape(5, 12)
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.msgpack_serialize({"a": value, "b": jnp.ones(2)}))
    opened = formats.open(tmp_path / "x.msgpack")
    assert_same(opened["a"], value)
    assert_same(opened["b"], np.ones(2, np.float32))


def packed(shape, dtype, data, kind=1):
    return msgpack.ExtType(kind, msgpack.packb((shape, dtype, data)))


def chunked(shape, *chunks):
    parts = {str(i): packed((len(c) // 4,), "float32", c) for i, c in enumerate(chunks)}
    return {"__msgpack_chunked_array__": True, "shape": shape, "chunks": parts}


MSGPACK = {
    "too few bytes": ({"a": packed((6,), "float32", bytes(23))}, "23 bytes for float32"),
    "shape bomb": ({"a": packed((2**40,), "float32", bytes(24))}, "24 bytes for float32"),
    "sizes that overflow": ({"a": packed((2**33, 2**33), "float32", b"")}, "impossible shape"),
    "negative size": ({"a": packed((-6,), "float32", bytes(24))}, "impossible shape"),
    "100 dimensions": ({"a": packed((1,) * 100, "float32", bytes(4))}, "100 dimensions"),
    "objects": ({"a": packed((3,), "object", bytes(24))}, "dtype 'object'"),
    "structure": ({"a": packed((3,), "f4,f4", bytes(24))}, "dtype 'f4,f4'"),
    "shape is text": ({"a": packed("abc", "float32", bytes(12))}, "not a list of integers"),
    "shape of arrays": ({"a": packed((packed((1,), "int8", b"1"),), "float32", bytes(4))}, "not a list of integers"),
    "no payload": ({"a": msgpack.ExtType(1, b"")}, "ends early"),
    "payload is nil": ({"a": msgpack.ExtType(1, b"\xc0")}, "not shape, dtype and bytes"),
    "payload goes on": ({"a": msgpack.ExtType(1, msgpack.packb(((1,), "int8", b"1")) + b"1")}, "longer or shorter"),
    "a list": ([1, 2], "holds no tensors"),
    "chunk shape": ({"a": chunked({"0": 7}, bytes(24))}, "do not make up its shape"),
    "chunk bomb": ({"a": chunked({"0": 2**40, "1": 2**40}, bytes(24))}, "impossible shape"),
    "chunks of two types": (
        {"a": chunked({"0": 7}, bytes(24)) | {"chunks": {"0": packed((6,), "float32", bytes(24)), "1": 1}}},
        "do not make up its shape",
    ),
    "chunks without shape": ({"a": {"__msgpack_chunked_array__": True}}, "do not make up its shape"),
    "path twice": ({"a/b": 1, "a": {"b": 2}}, "the path 'a/b'"),
}


@pytest.mark.parametrize("case", MSGPACK)
def test_msgpack_damage(tmp_path, case):
    value, reason = MSGPACK[case]
    path = tmp_path / "x.msgpack"
    path.write_bytes(msgpack.packb(value))
    refused(path, reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x81" + b"\xa1a\x81" * 200 + b"\xa1a\xc0", "nested over"),
        (b"\x82\xa1a\xc0\xa1a\xc0", "'a' twice"),
        (b"\x81\xa1\xff\xc0", "not UTF-8"),
        (b"\x81\xd9\xff" + b"k" * 255 + b"\xc1", "unused code 0xc1"),
        (b"\x81\xda\xff\xff" + b"k" * 65535 + b"\xc0", "name of 65,535"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "ends early"),
        (b"\x81\xa1a\xdf\xff\xff\xff\xff", "ends early"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", "ends early"),
        (b"\x81\xa1a\xc0\xc0", "bytes follow"),
        (b"\x81\xa1a\xdd\x00\x1f\xff\xff" + b"\xc0" * 0x1FFFFF, "more than 500,000"),
    ],
)
def test_msgpack_structure(tmp_path, data, reason):
    path = tmp_path / "x.msgpack"
    path.write_bytes(data)
    refused(path, reason)


SHAPES = {
    "layers/dense/vars/0": (4, 3),
    "layers/dense/vars/1": (3,),
    **{f"layers/batch_normalization/vars/{i}": (3,) for i in range(4)},
    "layers/dense_1/vars/0": (3, 2),
    "layers/dense_1/vars/1": (2,),
}


@pytest.mark.parametrize("name", ["keras.weights.h5", "keras.keras"])
def test_keras(name):
    opened = formats.open(CORPUS / name)
    assert {key: tensor.shape for key, tensor in opened.items()} == SHAPES
    assert all(key.startswith("optimizer/vars/") for key in opened.left_out)
    order = ["layers/dense/vars/0", "layers/dense/vars/1"]
    order += [f"layers/batch_normalization/vars/{i}" for i in range(4)] + [
        "layers/dense_1/vars/0",
        "layers/dense_1/vars/1",
    ]
    for first, key in enumerate(order):
        size = int(np.prod(SHAPES[key]))
        assert_same(opened[key], np.arange(first, first + size, dtype=np.float32).reshape(SHAPES[key]))


def test_keras_whole_model():
    opened = formats.open(CORPUS / "keras_whole.h5")
    assert opened.unwrapped == ("model_weights/",)
    assert sorted(tensor.shape for tensor in opened.values()) == sorted(SHAPES.values())


def test_keras_chunked_big_endian_and_text(tmp_path):
    value = np.arange(600, dtype=np.float32).reshape(20, 30)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", data=value, chunks=(5, 30), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("b", data=value.astype(">f8"))
        file["text"] = "words"
        file.create_dataset("empty", shape=(0, 3), dtype="f4")
    opened = formats.open(tmp_path / "x.h5")
    assert_same(opened["a"], value)
    assert_same(opened["b"], value.astype(np.float64))
    assert_same(opened["empty"], np.zeros((0, 3), np.float32))
    assert opened.left_out == ("text",)


def _external_storage(file):
    file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def _virtual(file):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (4,))
    file.create_virtual_dataset("a", layout)


def _loop(file):
    file.create_group("a/b")
    file["a/b/c"] = file["a"]


def _deep(file):
    file.create_group("/".join("a" * 100))


H5 = {
    "external link": (lambda file: file.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/")), "ExternalLink"),
    "soft link": (lambda file: file.__setitem__("a", h5py.SoftLink("/b")), "SoftLink"),
    "external storage": (_external_storage, "other files"),
    "virtual dataset": (_virtual, "other files"),
    "groups in a loop": (_loop, "two paths"),
    "deep groups": (_deep, "nested over"),
    "shape bomb": (lambda file: file.create_dataset("a", (2**40,), "f4", chunks=(4,)), "refused as a bomb"),
    "filled shape bomb": (lambda file: file.create_dataset("a", (2**30,), "f4", fillvalue=1, chunks=(2**20,)), "bomb"),
    "compression bomb": (
        lambda file: file.create_dataset("a", data=np.zeros(2**25, np.float32), compression="gzip", chunks=(2**22,)),
        "bomb",
    ),
    "other filter": (lambda file: file.create_dataset("a", data=np.ones(9), compression="lzf"), r"filters \[32000\]"),
}


@pytest.mark.parametrize("case", H5)
def test_h5(tmp_path, case):
    build, reason = H5[case]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["good"] = np.ones(3)
        build(file)
    refused(tmp_path / "x.h5", reason)
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda", "config": {"function": "import os"}}')
        archive.write(tmp_path / "x.h5", "model.weights.h5")
    refused(tmp_path / "x.keras", reason)


def test_compressed_keras_archive(tmp_path):
    data = (CORPUS / "keras.weights.h5").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", data)
    assert {key: tensor.shape for key, tensor in formats.open(tmp_path / "x.keras").items()} == SHAPES
    assert formats.open(tmp_path / "x.keras")["layers/dense/vars/0"].read()[3, 2] == 11


@pytest.fixture(scope="module")
def orbax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orbax")
    tree = {"params": nested({k: jnp.asarray(v) for k, v in arrays().items() if "head/kernel" not in k and k != "pos"})}
    with ocp.PyTreeCheckpointer(use_ocdbt=True) as writer:
        writer.save(folder / "ocdbt", tree | {"step": 3, "none": None, "opt_state": {"mu": jnp.ones(3)}})
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as writer:
        writer.save(folder / "zarr", tree)
    with ocp.PyTreeCheckpointer(use_ocdbt=False, use_zarr3=True) as writer:
        writer.save(folder / "zarr3", tree)
    from orbax.checkpoint import v1

    with v1.training.Checkpointer(folder / "steps") as writer:
        writer.save(0, tree)
        writer.save(7, tree)
    return folder


@pytest.mark.parametrize("name", ["ocdbt", "zarr", "zarr3", "steps", "steps/0"])
def test_orbax(orbax, name):
    opened = formats.open(orbax / name)
    outer = {"steps": ("7/state/",), "steps/0": ("state/",)}.get(name, ())
    assert opened.unwrapped == (*outer, "params/")
    assert set(opened.left_out) == ({"step", "none", "opt_state/mu"} if name == "ocdbt" else set())
    expected = {k: v for k, v in arrays().items() if k not in ("head/kernel", "pos")}
    assert opened.keys() == expected.keys()
    for key, value in expected.items():
        assert_same(opened[key], value)


@pytest.fixture
def zarr(orbax, tmp_path):
    return shutil.copytree(orbax / "zarr", tmp_path / "zarr")


def edit(path, change):
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))


ORBAX = {
    "a list": (lambda m: [1], "does not begin with an object"),
    "no tree": (lambda m: {"x": 1}, "no tree_metadata"),
    "entry is a number": (lambda m: m["tree_metadata"].update(x=1), "entry without"),
    "path escape": (
        lambda m: m["tree_metadata"].update(
            x={"key_metadata": [{"key": "../../x"}], "value_metadata": {"value_type": "jax.Array"}}
        ),
        "not a plain name",
    ),
    "absent array": (
        lambda m: m["tree_metadata"].update(
            x={"key_metadata": [{"key": "x"}], "value_metadata": {"value_type": "jax.Array"}}
        ),
        "array 'x' is not in",
    ),
    "twice": (lambda m: m["tree_metadata"].update(x=next(iter(m["tree_metadata"].values()))), "two arrays of the path"),
    "another format": (lambda m: m.update(use_zarr3=True), "is not in"),
}


@pytest.mark.parametrize("case", ORBAX)
def test_orbax_metadata(zarr, case):
    change, reason = ORBAX[case]
    edit(zarr / "_METADATA", change)
    refused(zarr, reason)


ZARR = {
    "shape bomb": ({"shape": [2**20, 2**20], "chunks": [1, 4]}, "refused as a bomb"),
    "sizes that overflow": ({"shape": [2**40, 2**40]}, "impossible shape"),
    "shape is a number": ({"shape": 3}, "not natural numbers"),
    "chunk bomb": ({"chunks": [2**20, 2**20]}, "chunks larger"),
    "empty chunks": ({"chunks": [0, 4]}, "not natural numbers"),
    "chunks of another rank": ({"chunks": [12]}, "another rank"),
    "structured dtype": ({"dtype": [["a", "<f4"], ["b", "<f4"]]}, "dtype .* is not read"),
    "object dtype": ({"dtype": "|O"}, "dtype '|O'"),
    "other compressor": ({"compressor": {"id": "pickle"}}, "the compressor"),
    "filters": ({"filters": [{"id": "pickle"}]}, "filters"),
    "another field": ({"kvstore": "file:///etc/passwd"}, "not of zarr 2"),
    "other dtype": ({"dtype": "<f8"}, "damaged"),
    "other shape": ({"shape": [3, 5], "chunks": [3, 5]}, "damaged"),
}


@pytest.mark.parametrize("case", ZARR)
def test_orbax_arrays(zarr, case):
    changes, reason = ZARR[case]
    edit(zarr / "params.embedding.kernel" / ".zarray", lambda m: m.update(changes))
    refused(zarr, reason)


ZARR3 = {
    "other codec": (lambda m: m["codecs"].append({"name": "pickle"}), "the codec"),
    "other codec inside": (lambda m: m["codecs"][0]["configuration"]["codecs"].append({"name": "blosc"}), "the codec"),
    "other option": (lambda m: m["codecs"][0]["configuration"].update(path="/etc"), "options of the codec"),
    "empty inner chunks": (lambda m: m["codecs"][0]["configuration"].update(chunk_shape=[0, 1]), "not natural numbers"),
    "deep codecs": (
        lambda m: m["codecs"][0]["configuration"].update(codecs=[{"name": "crc32c"}] * 9),
        "codecs that are not read",
    ),
    "dtype": (lambda m: m.update(data_type="object"), "not read"),
    "irregular chunks": (lambda m: m["chunk_grid"].update(name="rectilinear"), "not read"),
    "transformer": (lambda m: m.update(storage_transformers=[1]), "not of zarr 3"),
    "shape bomb": (lambda m: m.update(shape=[2**20, 2**20]), "bomb|chunks"),
    "chunk bomb": (lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[2**20, 2**20]), "chunks larger"),
}


@pytest.mark.parametrize("case", ZARR3)
def test_orbax_zarr3(orbax, tmp_path, case):
    change, reason = ZARR3[case]
    folder = shutil.copytree(orbax / "zarr3", tmp_path / "x")
    (path,) = [p for p in folder.rglob("zarr.json") if "embedding.kernel" in str(p)]
    edit(path, lambda m: change(m) and None)
    refused(folder, reason)


@pytest.mark.parametrize("name", ["zarr", "zarr3", "ocdbt"])
def test_orbax_truncations(orbax, tmp_path, name):
    """Each file of a checkpoint cut in half: refused, or read as it was."""
    for number, path in enumerate(sorted(p for p in (orbax / name).rglob("*") if p.is_file() and p.stat().st_size > 1)):
        copy = shutil.copytree(orbax / name, tmp_path / str(number))
        victim = copy / path.relative_to(orbax / name)
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        read_or_refuse(copy)


def seeds():
    stored, packed_ = io.BytesIO(), io.BytesIO()
    np.savez(stored, **{"params/" + k: v for k, v in arrays().items()})
    np.savez_compressed(packed_, **arrays())
    flat = {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in arrays().items()}
    return {
        "stored.npz": stored.getvalue(),
        "packed.npz": packed_.getvalue(),
        "x.msgpack": flax.serialization.msgpack_serialize({"params": nested(flat), "step": 3}),
        "x.weights.h5": (CORPUS / "keras.weights.h5").read_bytes(),
        "x.keras": (CORPUS / "keras.keras").read_bytes(),
    }


SEEDS = seeds()


@pytest.mark.parametrize("sixteenths", range(16))
@pytest.mark.parametrize("seed", SEEDS)
def test_truncations(tmp_path, seed, sixteenths):
    path = tmp_path / seed
    path.write_bytes(SEEDS[seed][: len(SEEDS[seed]) * sixteenths // 16])
    refused(path, ".")


@pytest.mark.parametrize("seed", SEEDS)
def test_fuzz(tmp_path, seed):
    path = tmp_path / seed

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=SILENT)
    @given(damaged(SEEDS[seed]))
    def check(data):
        path.write_bytes(data)
        read_or_refuse(path)

    check()
