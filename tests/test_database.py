"""Databases that we write are read by TensorStore; those of others are measured before they are unpacked."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorstore as ts
from test_formats_hostile import refused

from jtransfer.weights import formats
from jtransfer.weights.formats import ocdbt
from jtransfer.weights.streaming import ocdbt_writer

MB = 1 << 20


def opened(folder, **options):
    base = {"driver": "file", "path": f"{folder}/"}
    return ts.KvStore.open({"driver": "ocdbt", "base": base} | options).result()


def test_the_checksum_is_that_of_the_standard():
    assert ocdbt_writer.crc32c(b"123456789") == 0xE3069283
    assert ocdbt_writer.crc32c(bytes(32)) == 0x8A9136AA
    assert ocdbt_writer.crc32c(b"") == 0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [1, 3_000])
def test_each_value_is_where_the_tree_says(count, threads, tmp_path):
    rng = np.random.default_rng(0)
    sizes = (0, 1, 300, ocdbt_writer.INLINE, ocdbt_writer.INLINE + 1, 5_000, 3 * ocdbt_writer.WRITE + 7)
    values = {f"{'ab' * (i % 3)}/é{i % 7}.{i}": rng.bytes(sizes[i % 6 if i else 6]) for i in range(count)}
    with ocdbt_writer.new(tmp_path) as put, ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda item: put(*item), values.items()))
    store = opened(tmp_path)
    assert sorted(store.list().result()) == sorted(key.encode() for key in values)
    assert {key: store[key] for key in values} == values
    assert len(list((tmp_path / "d").iterdir())) <= threads + 1
    (version,) = ts.ocdbt.dump(store.base).result()["versions"]
    assert version["root"]["statistics"]["num_keys"] == count
    store["more"] = b"x" * 5_000
    assert opened(tmp_path)["more"] == b"x" * 5_000


def test_arrays_of_bytes_are_values(tmp_path):
    with ocdbt_writer.new(tmp_path) as put:
        put("a", np.arange(7, dtype=np.uint8))
        put("b", np.arange(MB, dtype=np.uint32).view(np.uint8))
    assert opened(tmp_path)["a"] == bytes(range(7))
    assert np.frombuffer(opened(tmp_path)["b"], np.uint32)[-1] == MB - 1


def test_nothing_that_failed_can_be_read(tmp_path):
    with pytest.raises(TypeError), ocdbt_writer.new(tmp_path) as put:
        put("a", None)
    with pytest.raises(ValueError, match="0 keys"), ocdbt_writer.new(tmp_path / "d"):
        pass
    assert not list(tmp_path.rglob(ocdbt.MANIFEST))


def arrays(folder, more=0):
    """A checkpoint of one array, `a`, whose database has more keys."""
    folder.mkdir(exist_ok=True)
    with ocdbt_writer.new(folder) as put:
        metadata = {"zarr_format": 2, "shape": [3], "chunks": [3], "dtype": "<f4", "order": "C", "compressor": None}
        put("a/.zarray", json.dumps(metadata | {"fill_value": None, "filters": None}).encode())
        put("a/0", np.ones(3, np.float32).tobytes())
        for i in range(more):
            put(f"b/{i}", bytes(50))
    value = {"value_type": "np.ndarray", "skip_deserialize": False}
    tree = {"('a',)": {"key_metadata": [{"key": "a", "key_type": 2}], "value_metadata": value}}
    (folder / "_METADATA").write_text(json.dumps({"tree_metadata": tree, "use_ocdbt": True, "use_zarr3": False}))


def rooted(folder, root, name="d/root"):
    """Gives the database of a checkpoint another root."""
    (folder / "d" / "root").write_bytes(root)
    (folder / ocdbt.MANIFEST).write_bytes(ocdbt_writer.manifest((name, 0, len(root)), []))


def packed(body, kind="node"):
    """A node or manifest whose body says that it is Zstandard."""
    framed = struct.pack(">I", ocdbt.MAGIC[kind]) + struct.pack("<Q", len(body) + 18) + b"\0\1" + body
    return framed + struct.pack("<I", ocdbt_writer.crc32c(framed))


def blocks(*parts, window=0x38):
    """A frame of Zstandard of (kind, size, content), the kind 0 for raw, 1 for repeated and 2 for compressed ones."""
    last = len(parts) - 1
    headers = [(size << 3 | kind << 1 | (i == last)).to_bytes(3, "little") for i, (kind, size, _) in enumerate(parts)]
    content = b"".join(header + part for header, (_, _, part) in zip(headers, parts, strict=True))
    return b"\x28\xb5\x2f\xfd\0" + bytes([window]) + content


ROOT = ocdbt_writer.leaf({b"a/0": b"x"})
BODY = ROOT[14:-4]
HOSTILE = {
    "cut": (ROOT[:-1], "damaged"),
    "another kind": (packed(blocks((0, len(BODY), BODY)), "manifest"), "damaged"),
    "length": (ROOT[:4] + b"\xff" * 8 + ROOT[12:], "damaged"),
    "version": (ROOT[:12] + b"\1" + ROOT[13:], "damaged"),
    "checksum": (ROOT[:-1] + bytes([ROOT[-1] ^ 1]), "damaged.*checksum"),
    "compression": (ROOT[:13] + b"\2" + ROOT[14:], "damaged"),
    "not Zstandard": (packed(BODY), "not Zstandard"),
    "repeated blocks": (packed(blocks(*[(1, 1 << 17, b"\0")] * 2_000)), "bomb"),
    "packed blocks": (packed(blocks(*[(2, 3, b"abc")] * 2_000)), "bomb"),
    "large window": (packed(blocks((0, len(BODY), BODY), window=0xFF)), "bomb"),
    "large content": (packed(b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\1\0\0"), "bomb"),
    "block beyond the end": (packed(blocks((0, 100, b"x"))), "damaged"),
    "reserved block": (packed(blocks((3, 1, b"x"))), "damaged"),
    "no last block": (packed(blocks((0, 1, b"x"))[:-1] + b"\0" * 8), "damaged"),
    "many keys": (ocdbt_writer.framed("node", b"\0\0" + b"\xff" * 8 + b"\x01"), "damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_tree_that_lies_is_refused(case, tmp_path):
    root, reason = HOSTILE[case]
    arrays(tmp_path)
    rooted(tmp_path, root)
    refused(tmp_path, reason)


def test_a_packed_tree_is_read(tmp_path):
    arrays(tmp_path)
    store = opened(tmp_path)
    location = ts.ocdbt.dump(store.base).result()["versions"][-1]["root"]["location"]
    _, _, name, start, size = location.split(":")
    node = (tmp_path / name.replace("%2F", "/")).read_bytes()[int(start) : int(start) + int(size)]
    rooted(tmp_path, packed(blocks((0, len(node) - 18, node[14:-4]))))
    np.testing.assert_array_equal(formats.open(tmp_path)["a"].read(), np.ones(3))


@pytest.mark.parametrize("name", ["../root", "d/../../root", "/root", "d/./../../root"])
def test_an_index_outside_the_folder_is_refused(name, tmp_path):
    folder = tmp_path / "x"
    (tmp_path / "root").write_bytes(ROOT)
    arrays(folder)
    rooted(folder, ROOT, f"{tmp_path}/root" if name == "/root" else name)
    refused(folder, "not below its folder")


@pytest.mark.parametrize("name", ["../secret", "d/../../secret"])
def test_a_value_outside_the_folder_is_refused(name, tmp_path):
    folder = tmp_path / "x"
    (tmp_path / "secret").write_bytes(bytes(12))
    arrays(folder)
    rooted(folder, ocdbt_writer.leaf({b"a/.zarray": opened(folder)["a/.zarray"], b"a/0": (name, 0, 12)}))
    refused(folder, "Invalid key")


@pytest.mark.parametrize("kind", ["single", "numbered"])
def test_a_tree_of_several_levels_is_read_and_measured(kind, tmp_path, monkeypatch):
    sizes = {"max_decoded_node_bytes": 2_000, "max_inline_value_bytes": 100}
    store = opened(tmp_path, config=sizes | {"manifest_kind": kind})
    arrays(tmp_path / "flat", more=300)
    flat = opened(tmp_path / "flat")
    for key in flat.list().result():
        store[key] = flat[key]
    (tmp_path / "_METADATA").write_bytes((tmp_path / "flat" / "_METADATA").read_bytes())
    assert ts.ocdbt.dump(store.base).result()["versions"][-1]["root_height"] > 0
    np.testing.assert_array_equal(formats.open(tmp_path)["a"].read(), np.ones(3))
    monkeypatch.setattr(formats.ocdbt, "_NODE", 1_000)
    refused(tmp_path, "bomb")
