"""What is damaged of a checkpoint is found, said, and passed over: what is read is right, or refused in a line."""

import hashlib
import json
import os
import random
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tiny_checkpoints as tiny

from jtransfer.core.errors import InputError
from jtransfer.training import checkpoint, digest


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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("run"), [2, 4, 6], {2: 0.5, 4: 0.7}, keep=3)


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def resumed(run):
    return checkpoint.resume(run, lambda position: tiny.shapes())


def flip(path, bit):
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)


def data_of(folder):
    """The file that has most of the arrays of a tree."""
    return max((folder / "d").iterdir(), key=lambda path: path.stat().st_size)


def test_a_bit_of_any_file_is_read_right_or_passed_over(run, capsys):
    rng, outcomes = random.Random(0), set()
    for path in sorted(path for path in (run / "checkpoints/6").rglob("*") if path.is_file() and path.stat().st_size):
        whole = path.read_bytes()
        for _ in range(4):
            flip(path, rng.randrange(8 * len(whole)))
            step, variables = checkpoint.load(run)
            err = capsys.readouterr().err
            assert tiny.is_of(variables, step)
            assert err.count("\n") == (step != 6)
            found = resumed(run)
            assert tiny.is_state_of(found.state, found.step)
            assert ("checkpoints/6 is damaged" in capsys.readouterr().err) == (found.step == 4)
            outcomes |= {step, found.step}
            path.write_bytes(whole)
    assert outcomes == {4, 6}


def test_the_run_goes_on_from_the_one_before_and_saves_the_step_again(run, capsys):
    flip(data_of(run / "checkpoints/6/optimizer"), 9001)
    found = resumed(run)
    assert found.step == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "checkpoints/6 is damaged: optimizer" in err
    assert "step 4 is taken instead" in err
    assert tiny.kept(run) == ["2", "4", "6"]  # nothing was written
    with checkpoint.open_checkpoints(run, every=1, resumed_at=4) as checkpoints:
        assert tiny.kept(run) == ["2", "4", "6.damaged"]
        tiny.save(checkpoints, run, 6)
    assert tiny.kept(run) == ["4", "6", "6.damaged"]
    assert resumed(run).step == 6
    flip(data_of(run / "checkpoints/6/state"), 9001)
    with checkpoint.open_checkpoints(run, every=1, resumed_at=4):
        assert tiny.kept(run) == ["4", "6.damaged", "6.damaged.1"]


def test_the_next_best_is_taken_for_the_best(run, capsys):
    flip(data_of(run / "checkpoints/4/state"), 77)
    step, variables = checkpoint.load(run, "best")
    assert (step, tiny.is_of(variables, 2)) == (2, True)
    assert "checkpoints/4 is damaged" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"checkpoints/4 is damaged: .*; name another step, or leave it out"):
        checkpoint.load(run, 4)


@pytest.mark.parametrize("damage", ["all", "set aside"])
def test_where_none_is_whole_nothing_begins_anew(run, damage):
    for step in (2, 4, 6):
        folder = run / "checkpoints" / str(step)
        if damage == "all":
            flip(data_of(folder / "state"), 77)
        else:
            folder.rename(f"{folder}.damaged")
    for read in (resumed, checkpoint.load_params, checkpoint.lazy_params):
        with pytest.raises(InputError, match="holds no whole checkpoint") as error:
            read(run)
        assert "\n" not in str(error.value)
        assert "remove" not in str(error.value)


def test_what_is_frozen_is_made_again_if_it_then_is_what_it_was(run, capsys):
    flip(data_of(run / "base/only/state"), 77)
    with pytest.raises(InputError, match=r"base/only is damaged: .*; start the run again: it makes it anew"):
        checkpoint.load_params(run)
    with pytest.raises(InputError, match="base/only is damaged"):
        resumed(run)
    other = jax.tree.map(lambda x: x + 1, tiny.of_step(0).frozen)
    with pytest.raises(InputError, match="base/only is damaged"):
        checkpoint.resume(run, lambda position: tiny.shapes(), lambda position: other)
    found = checkpoint.resume(run, lambda position: tiny.shapes(), lambda position: tiny.of_step(0).frozen)
    assert found.remade
    assert tiny.is_state_of(found.state, 6)
    assert "base/only is damaged: " in capsys.readouterr().err
    checkpoint.write_base(run, "only", found.state.frozen)
    assert tiny.is_of(checkpoint.load_params(run), 6)
    assert sorted(path.name for path in (run / "base").iterdir()) == ["only", "only.damaged"]


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path, target):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(target)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def restate(folder, change):
    """Changes what a checkpoint states, as one who knows how to make it hold together."""

    def resealed(content):
        stated = json.loads(content["custom_metadata"]["stated"])
        change(stated)
        text = json.dumps(stated)
        content["custom_metadata"] = {"stated": text, "digest": hashlib.sha256(text.encode()).hexdigest()[:32]}

    edit(folder / "_CHECKPOINT_METADATA", resealed)


def declare(folder, shape, chunk=None):
    """Has a tree declare another shape of an array."""
    import tensorstore as ts

    base = {"driver": "file", "path": f"{folder}/"}
    store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
    key = "ema.params.head.kernel/zarr.json"
    array = json.loads(store.read(key).result().value)
    array["shape"] = shape
    array["chunk_grid"]["configuration"]["chunk_shape"] = chunk or array["chunk_grid"]["configuration"]["chunk_shape"]
    store.write(key, json.dumps(array).encode()).result()


def unstated(folder):
    """As an earlier version wrote it, which stated no checksums."""
    edit(
        folder / "_CHECKPOINT_METADATA",
        lambda content: content.update(custom_metadata=json.loads(content["custom_metadata"]["stated"])["position"]),
    )


HOSTILE = {
    "pipe for metadata": lambda step: pipe(step / "_CHECKPOINT_METADATA"),
    "pipe for the tree": lambda step: pipe(step / "state/_METADATA"),
    "pipe for data": lambda step: pipe(data_of(step / "state")),
    "pipe beside data": lambda step: pipe(step / "state/d/more"),
    "pipe for an index": lambda step: pipe(step / "state/manifest.0001"),
    "pipe for the step": lambda step: [shutil.rmtree(step), os.mkfifo(step)],
    "file for the step": lambda step: [shutil.rmtree(step), step.write_text("")],
    "link to a device": lambda step: link(data_of(step / "state"), "/dev/zero"),
    "link to a file elsewhere": lambda step: link(data_of(step / "state"), "/etc/passwd"),
    "link to a folder elsewhere": lambda step: link(step / "state/d", "/usr"),
    "link for the tree": lambda step: link(step / "state", "/usr"),
    "link to itself": lambda step: link(step / "state/d", "d"),
    "huge metadata": lambda step: os.truncate(step / "_CHECKPOINT_METADATA", 1 << 40),
    "huge tree": lambda step: os.truncate(step / "state/_METADATA", 1 << 40),
    "huge index": lambda step: os.truncate(step / "state/manifest.ocdbt", 1 << 40),
    "deep metadata": lambda step: (step / "_CHECKPOINT_METADATA").write_text('{"a":' * 100000),
    "metadata of a list": lambda step: (step / "_CHECKPOINT_METADATA").write_text("[]"),
    "metadata of numbers": lambda step: edit(
        step / "_CHECKPOINT_METADATA", lambda content: content.update(custom_metadata={"stated": 1, "digest": 1})
    ),
    "a phase elsewhere": lambda step: restate(step, lambda stated: stated["position"].update(phase="../../etc")),
    "no position": lambda step: restate(step, lambda stated: stated.update(position=[])),
    "no checksums": lambda step: restate(step, lambda stated: stated.update(digests={})),
    "another step": lambda step: restate(step, lambda stated: stated.update(step=5)),
    "huge shape": lambda step: declare(step / "state", [1 << 19, 1 << 19]),
    "huge shape, nothing stated": lambda step: [unstated(step), declare(step / "state", [1 << 19, 1 << 19])],
    "huge chunk, nothing stated": lambda step: [unstated(step), declare(step / "state", [1 << 19] * 2, [1 << 19] * 2)],
    "huge shape in a file of holes": lambda step: [
        unstated(step),
        declare(step / "state", [1 << 18, 1 << 16]),
        (step / "state/d/more").write_bytes(b""),
        os.truncate(step / "state/d/more", 1 << 40),
    ],
    "state of another step": lambda step: [
        shutil.rmtree(step / "state"),
        shutil.copytree(step.parent / "2/state", step / "state"),
    ],
    "another tree": lambda step: [shutil.rmtree(step / "state"), shutil.copytree(step / "optimizer", step / "state")],
    "no metadata": lambda step: (step / "_CHECKPOINT_METADATA").unlink(),
    "no state": lambda step: shutil.rmtree(step / "state"),
    "nothing": lambda step: [shutil.rmtree(step), step.mkdir()],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_stranger_made_is_passed_over(run, case, capsys):
    HOSTILE[case](run / "checkpoints/6")
    for read in (lambda: checkpoint.load(run)[0], lambda: resumed(run).step):
        assert read() == 4
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "checkpoints/6 is damaged: " in err
    with pytest.raises(InputError, match=r"checkpoints/6 is damaged|has no checkpoint of step 6"):
        checkpoint.load_params(run, 6)
