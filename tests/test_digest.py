"""The checksums of arrays: as they are stated, whatever changes, and however an array is cut."""

import hashlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jtransfer.training import digest


def murmur(word):
    """The finalizer of MurmurHash3 for 32 bits, as Austin Appleby gives it."""
    word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
    word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
    return word ^ word >> 16


def by_hand(words):
    one = two = 0
    for place, word in enumerate(words):
        mixed = murmur(word ^ murmur((place + 0x9E3779B9) % 2**32))
        again = (mixed ^ mixed >> 15) * 0x2C1B3C6D % 2**32
        one, two = one + mixed, two + (again ^ again >> 12)
    return f"{one % 2**32:08x}{two % 2**32:08x}"


def sum_of(array):
    return digest.digests({"a": array})["a"]


def test_a_checksum_is_worked_out_by_hand():
    words = np.array([0, 1, 2**32 - 1, 12345, 0x3F800000, 7], np.uint32)
    assert sum_of(words) == f"uint32[6] {by_hand(words.tolist())}"
    assert sum_of(words.reshape(2, 3).view(np.float32)) == f"float32[2,3] {by_hand(words.tolist())}"
    halves = np.array([[1, 2], [0xFFFF, 0x3F80]], np.uint16).view(ml_dtypes.bfloat16)
    assert sum_of(halves) == f"bfloat16[2,2] {by_hand([1, 2, 0xFFFF, 0x3F80])}"
    wide = np.array([1.5, -2.0])
    assert sum_of(wide) == f"float64[2] {by_hand(wide.view(np.uint32).tolist())}"
    assert sum_of(np.array([True, False])) == f"bool[2] {by_hand([1, 0])}"
    assert sum_of(np.float32(1)) == f"float32[] {by_hand([0x3F800000])}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "bool", "float64", "complex64"])
def test_every_single_bit_counts(dtype):
    array = np.arange(12).reshape(3, 4).astype(jnp.dtype(dtype) if dtype == "bfloat16" else dtype)
    raw, whole = bytearray(array.tobytes()), sum_of(array)
    for bit in range(8 * len(raw)):
        raw[bit // 8] ^= 1 << bit % 8
        assert sum_of(np.frombuffer(bytes(raw), array.dtype).reshape(3, 4)) != whole
        raw[bit // 8] ^= 1 << bit % 8


def test_words_that_change_places_count():
    rng = np.random.default_rng(0)
    array = rng.standard_normal((256, 512)).astype(np.float32)
    array[0, 0], array[64, 0] = 1.5, -1.5  # 2¹⁵ places apart, and one bit apart
    sums = {sum_of(array)}
    swapped = array.copy()
    swapped[[0, 64], 0] = swapped[[64, 0], 0]
    others = [swapped, array[::-1], array[:, ::-1], np.roll(array, 1), array.reshape(512, 256).T.reshape(256, 512)]
    for first, other in rng.integers(0, array.size, (40, 2)):
        flat = array.copy().reshape(-1)
        flat[[first, other]] = flat[[other, first]]
        others.append(flat.reshape(array.shape))
    for start in rng.integers(0, 200, 10):
        zeroed = array.copy()
        zeroed[start : start + 8] = 0
        others.append(zeroed)
    sums |= {sum_of(np.ascontiguousarray(other)) for other in others}
    assert len(sums) == 1 + len(others)
    assert sum_of(array.reshape(512, 256)) not in sums
    assert sum_of(np.zeros(4, np.float32)) != sum_of(np.zeros(5, np.float32))


def test_a_checksum_is_the_same_however_an_array_is_cut():
    array = np.random.default_rng(0).standard_normal((8, 16, 24)).astype(np.float32)
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    for spec in [("x",), (None, "y"), (None, None, "x"), ("y", None, "x"), (("x", "y"),), (None, ("y", "x")), ()]:
        placed = jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec)))
        assert sum_of(placed) == sum_of(array), spec


def test_the_checksum_of_earlier_versions():
    tree = {"a": {"kernel": np.array([[1, 2], [3, 0x80000000]], np.uint32), "b": np.array([True, False])}}
    words = [1, 2, 3, 0x80000000]
    total = sum((word ^ word >> 15) * (place * 2654435762 + 1) for place, word in enumerate(words)) % 2**32
    lines = f"a/b bool [2] 1\na/kernel uint32 [2, 2] {total}"
    stated = hashlib.sha256(lines.encode()).hexdigest()[:32]
    flat = {"a/kernel": tree["a"]["kernel"], "a/b": tree["a"]["b"]}
    assert digest.matches(flat, stated)
    assert not digest.matches(flat | {"a/b": np.array([False, False])}, stated)
    assert digest.is_of_nothing(hashlib.sha256(b"").hexdigest()[:32])
    assert digest.is_of_nothing(digest.digest({}))
