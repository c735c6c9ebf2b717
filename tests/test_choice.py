"""Of several weights files in a folder the one that transformers takes is read, which is said, or none is guessed."""

import json

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file
from test_bucket import Bucket, bucket, fetched  # noqa: F401
from test_hub_requests import Hub, served

from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats import choice

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TORCH_SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


@pytest.mark.parametrize(
    ("files", "chosen", "said"),
    [
        (["model.safetensors"], "model.safetensors", None),
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors", "pytorch_model.bin lies beside it and was"),
        (["model.safetensors", INDEX, *SHARDS], "model.safetensors", f"{INDEX} lies beside it and was not read"),
        ([INDEX, *SHARDS], INDEX, None),
        ([INDEX, *SHARDS, "pytorch_model.bin"], INDEX, f"read {INDEX}; pytorch_model.bin lies beside it and was not"),
        (["pytorch_model.bin", "pytorch_model.bin.index.json", *TORCH_SHARDS], "pytorch_model.bin", "index.json lies"),
        (["pytorch_model.bin.index.json", *TORCH_SHARDS], "pytorch_model.bin.index.json", None),
        (["flax_model.msgpack", "tf_model.h5", "pytorch_model.bin"], "pytorch_model.bin", "tf_model.h5 lie beside it"),
        (["flax_model.msgpack", "tf_model.h5"], "flax_model.msgpack", "tf_model.h5"),
        (["model.fp16.safetensors", "model.safetensors"], "model.safetensors", "model.fp16.safetensors"),
        (["model.fp16.safetensors", "pytorch_model.fp16.bin"], "model.fp16.safetensors", "pytorch_model.fp16.bin"),
        (["model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"], "*", None),
        (["open_clip_pytorch_model.bin", "open_clip_model.safetensors"], "open_clip_model.safetensors", "was not read"),
        (["open_clip_pytorch_model.bin", "pytorch_model.bin"], "pytorch_model.bin", "open_clip_pytorch_model.bin"),
        (["diffusion_pytorch_model.bin"], "diffusion_pytorch_model.bin", None),
        (["epoch3.pth", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt"], "epoch3.pth", None),
        (["model.safetensors", "optimizer.bin", "training_args.bin"], "model.safetensors", None),
        (["moco_v2_800ep.pth.tar"], "moco_v2_800ep.pth.tar", None),
        (["head.pth", "model.safetensors"], "model.safetensors", "head.pth"),
    ],
)
def test_one_order_of_files(files, chosen, said):
    chosen = files[0] if chosen == "*" else chosen
    assert choice.choose([*files, "config.json", "vocab.txt"]) == chosen
    shards = SHARDS if chosen == INDEX else ()
    lines = choice.beside(chosen, files, shards)
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]


@pytest.mark.parametrize(
    ("files", "folders", "says"),
    [
        (["best.pth", "last.pth"], [], "found several: best.pth, last.pth; name one"),
        (["model.fp16.safetensors", "model.bf16.safetensors"], [], "several: model.bf16.safetensors, model.fp16"),
        (["a.npz", "b.h5", "c.msgpack"], [], "several: a.npz, b.h5, c.msgpack"),
        (
            ["optimizer.pt", "scheduler.pt", "training_args.bin"],
            [],
            "what a trainer keeps to go on: optimizer.pt, ",
        ),
        (["trainer_state.json", "rng_state.pth"], ["checkpoint-500"], r"\(.*\); read one of checkpoint-500"),
        (["config.json"], ["checkpoint-500", "checkpoint-1000"], "read one of the folders checkpoint-1000, checkpoint"),
        (["zero_to_fp32.py", "latest"], ["global_step500"], "DeepSpeed's shards; run its zero_to_fp32.py"),
        (["optimizer.bin", "scaler.pt", "random_states_0.pkl"], [], "optimizer.bin, random_states_0.pkl, scaler.pt"),
        (SHARDS, [], f"without their index {INDEX}; fetch it too"),
        (["config.json", "notes.txt"], [], "found none ending in .safetensors"),
    ],
)
def test_what_is_no_choice_is_refused_by_name(files, folders, says, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=says) as caught:
        formats.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_trainers_file_is_no_weights_by_its_own_name(tmp_path):
    (tmp_path / "optimizer.pt").write_bytes(b"anything")
    with pytest.raises(InputError, match=r"optimizer\.pt: is what a trainer keeps"):
        formats.open(tmp_path / "optimizer.pt")


def generations(folder, shards=False):
    """A folder with weights of which only one can be right: 1 in safetensors, 2 in what lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = SHARDS if shards else ("model.safetensors",)
    for name in names:
        save_file({name: np.ones(1, np.float32)}, folder / name)
    if shards:
        (folder / INDEX).write_text(json.dumps({"weight_map": {name: name for name in names}}))
    (folder / "optimizer.pt").write_bytes(b"large")
    (folder / "pytorch_model.bin").write_bytes(b"large")
    return folder, names


@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_says_what_lies_beside(shards, tmp_path):
    folder, names = generations(tmp_path, shards)
    opened = weights.open(folder)
    assert list(opened.tensors) == list(names)
    read = INDEX if shards else names[0]
    assert opened.notes == (f"read {read}; pytorch_model.bin lies beside it and was not read",)
    assert weights.open(folder / read).notes == ()


@pytest.mark.parametrize("shards", [False, True])
def test_a_bucket_is_a_folder_of_which_only_the_weights_are_fetched(shards, bucket):  # noqa: F811
    _, names = generations(bucket / "hub", shards)
    opened = weights.open("gs://bucket/hub")
    assert list(opened.tensors) == list(names)
    read = INDEX if shards else names[0]
    assert opened.notes == (f"read {read}; pytorch_model.bin lies beside it and was not read",)
    assert set(fetched()) == {f"hub/{name}" for name in {read, *names}}


def test_a_trainers_folder_in_a_bucket_is_refused_before_it_is_fetched(bucket):  # noqa: F811
    (bucket / "out" / "checkpoint-500").mkdir(parents=True)
    (bucket / "out" / "optimizer.pt").write_bytes(b"large")
    with pytest.raises(InputError, match=r"gs://bucket/out: .*read one of checkpoint-500"):
        _ = weights.open("gs://bucket/out").tensors
    assert fetched() == []


def install(tmp_path, monkeypatch, *names):
    """A distribution `net` with such files."""
    record = tmp_path / "net-1.dist-info" / "RECORD"
    record.parent.mkdir()
    (record.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: net\nVersion: 1\n")
    record.write_text("".join(f"{name},,\n" for name in names))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("shards", [False, True])
def test_a_distribution_is_a_folder(shards, tmp_path, monkeypatch):
    folder, names = generations(tmp_path / "net" / "data", shards)
    install(tmp_path, monkeypatch, "net/__init__.py", *(f"net/data/{path.name}" for path in folder.iterdir()))
    opened = weights.open("pypi://net")
    assert list(opened.tensors) == list(names)
    read = INDEX if shards else names[0]
    assert opened.notes == (f"read {read}; pytorch_model.bin lies beside it and was not read",)


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        (["net/a/model.safetensors", "net/b/model.safetensors"], "net/a/model.safetensors, net/b/model.safetensors"),
        (["net/one.pth", "net/other.pth"], "net/one.pth, net/other.pth"),
        (["net/__init__.py", "net/optimizer.pt"], "none"),
    ],
)
def test_a_distribution_without_a_choice_is_refused(files, holds, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, *files)
    with pytest.raises(InputError, match=f"pypi://net must hold .*, but holds {holds}; give a path instead"):
        _ = weights.open("pypi://net").tensors


@pytest.fixture
def hub(tmp_path, monkeypatch):
    (tmp_path / "remote").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return served(monkeypatch, Hub(tmp_path / "remote", tmp_path / "snapshot"))


@pytest.mark.parametrize("shards", [False, True])
def test_the_hub_is_a_folder_of_which_only_the_weights_are_fetched(shards, hub):
    _, names = generations(hub.remote, shards)
    (hub.remote / "onnx").mkdir()
    (hub.remote / "onnx" / "model.bin").touch()
    opened = weights.open("hf://org/name")
    assert list(opened.tensors) == list(names)
    read = INDEX if shards else names[0]
    assert opened.notes == (f"read {read}; pytorch_model.bin lies beside it and was not read",)
    assert set(hub.asked) == {"*", read, *names}


def test_a_trainers_repository_is_refused_before_it_is_fetched(hub):
    (hub.remote / "checkpoint-500").mkdir()
    (hub.remote / "checkpoint-500" / "model.safetensors").touch()
    (hub.remote / "training_args.bin").touch()
    with pytest.raises(InputError, match=r"hf://org/name .*read one of checkpoint-500, as hf://org/name:FILE"):
        _ = weights.open("hf://org/name").tensors
    assert hub.asked == {"*": 1}


def test_the_one_file_of_a_repository_is_read_and_several_are_named(hub):
    save_file({"a": np.ones(1)}, hub.remote / "resnet.safetensors")
    (hub.remote / "training_args.bin").touch()
    assert list(weights.open("hf://org/name").tensors) == ["a"]
    (hub.remote / "other.pth").touch()
    with pytest.raises(InputError, match=r"hf://org/name .* other\.pth, resnet\.safetensors; name one, as "):
        _ = weights.open("hf://org/name").tensors
