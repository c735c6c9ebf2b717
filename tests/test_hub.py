"""hf:// in the hub's own cache, without a network: weights, what lies beside them, revisions, files, what is absent."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import references
from safetensors.numpy import save_file

NAMES = {"main": "old", "v2": "new", "sub": "other", "own": "own"}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
CHILD = """
import json, sys
from pathlib import Path
from jtransfer.weights import conversion
from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.modalities.text.modality import Text

def described(source):
    found = weights.describe(source)
    return [found.name, found.class_names[0], len(weights.restore(source)[2].loaded)]

def converted(source):
    dest = Path(sys.argv[1]) / "new"
    conversion.convert(source, dest)
    return [sorted(path.name for path in dest.iterdir() if path.suffix in (".txt", ".json")), described(dest)]

def tokenized(source):
    opened = Text(tokenizer=source).open((sys.argv[1], "scratch"), None)
    return opened.vocabulary(["a b a"], length=8)["input_ids"][0].tolist()

def noted(source):
    return list(weights.open(source).notes)

ASKED = {"described": described, "noted": noted, "converted": converted, "tokenized": tokenized}
for line in sys.stdin:
    what, source = line.split()
    try:
        answer = ASKED[what](source)
    except InputError as error:
        answer = str(error)
    print(json.dumps([line.strip(), answer]))
"""
ASKED = [
    "described hf://org/name",
    "described hf://org/name@main",
    "described hf://org/name@v2",
    "described hf://org/name@" + "2" * 40,
    "described hf://org/name:model.safetensors",
    "described hf://org/name:sub/model.safetensors",
    "described hf://org/name:trees.npz:img",
    "converted hf://org/name",
    "noted hf://org/name",
    "noted hf://org/name@v2",
    "tokenized hf://org/name",
    "tokenized hf://org/name@v2",
    "described hf://org/name@v3",
    "described hf://org/name:absent.safetensors",
    "described hf://org/absent",
    "described hf://org/name@bad",
    "described hf://org/name@own",
    "described hf://a/b/c",
]


def snapshot(repo, sha, files):
    """Files as the hub's client lays them down: links from a snapshot into blobs."""
    for name, content in files.items():
        blob = repo / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = repo / "snapshots" / sha / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))


def ref(repo, name, sha):
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / name).write_text(sha)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What was asked → the answer, of a process with HF_HOME at a cache that was made by hand and HF_HUB_OFFLINE."""
    home, scratch = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("scratch")
    repo = home / "hub" / "models--org--name"
    reference = references.load("convnext_timm_75")
    tensors = {name: tensor.read() for name, tensor in reference.tensors.items()}
    halves = dict(list(tensors.items())[::2]), dict(list(tensors.items())[1::2])
    weights = {}
    for name, part in {"model.safetensors": tensors, "1.safetensors": halves[0], "2.safetensors": halves[1]}.items():
        save_file(part, scratch / name)
        weights[name] = (scratch / name).read_bytes()
    np.savez(scratch / "trees.npz", **{f"img/{name}": x for name, x in tensors.items()}, **{"txt/x": np.ones(1)})
    index = {name: "1.safetensors" if name in halves[0] else "2.safetensors" for name in tensors}

    def config(kind):
        args = {"depths": reference.fields["depths"], "dims": reference.fields["widths"]}
        labels = {"label_names": [f"{NAMES[kind]} {i}" for i in range(references.CLASSES)]}
        given = {"architecture": "convnext_tiny", "model_args": args, "pretrained_cfg": labels}
        return json.dumps(given).encode()

    words = {
        "vocab.txt": "\n".join(VOCABULARY).encode(),
        "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}',
    }
    whole = {"model.safetensors": weights["model.safetensors"]}
    more = {"trees.npz": (scratch / "trees.npz").read_bytes(), "sub/config.json": config("sub")}
    more |= {f"sub/{name}": content for name, content in whole.items()}
    snapshot(repo, "1" * 40, whole | more | words | {"config.json": config("main")})
    shards = {name: weights[name] for name in ("1.safetensors", "2.safetensors")}
    shards["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    snapshot(repo, "2" * 40, shards | {"config.json": config("v2")})
    labels = [f"{NAMES['own']} {i}" for i in range(references.CLASSES)]
    fields = reference.fields | {"num_classes": references.CLASSES}
    own = {"model": {"name": "convnext_tiny", "fields": fields}, "digest": "sha256:0", "class_names": labels}
    snapshot(repo, "4" * 40, whole | {"source.json": json.dumps(own).encode()})
    escape = json.dumps({"weight_map": {"a": "../../../refs/main"}}).encode()
    snapshot(repo, "3" * 40, {"model.safetensors.index.json": escape})
    for name, sha in {"main": "1" * 40, "v2": "2" * 40, "bad": "3" * 40, "own": "4" * 40}.items():
        ref(repo, name, sha)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE"))}
    env |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    argv = [sys.executable, "-W", "ignore", "-c", CHILD, str(scratch)]
    done = subprocess.run(
        argv, input="\n".join(ASKED), env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("hf://org/name", "main"),
        ("hf://org/name@main", "main"),
        ("hf://org/name@v2", "v2"),
        ("hf://org/name@" + "2" * 40, "v2"),
        ("hf://org/name:model.safetensors", "main"),
        ("hf://org/name:sub/model.safetensors", "sub"),
        ("hf://org/name:trees.npz:img", "main"),
        ("hf://org/name@own", "own"),
    ],
)
def test_weights_come_with_the_config_of_their_revision_and_folder(source, names, answers):
    tensors = references.load("convnext_timm_75").tensors
    assert answers[f"described {source}"] == ["convnext_tiny", f"{NAMES[names]} 0", len(tensors)]


def test_what_lies_beside_in_the_cache_is_said(answers):
    assert answers["noted hf://org/name"] == ["read model.safetensors; trees.npz lies beside it and was not read"]
    assert answers["noted hf://org/name@v2"] == []


def test_the_tokenizers_files_come_along(answers):
    files, again = answers["converted hf://org/name"]
    assert {"vocab.txt", "tokenizer_config.json", "source.json"} <= set(files)
    assert again == answers["described hf://org/name"]
    assert answers["tokenized hf://org/name"][:5] == [2, 5, 6, 5, 3]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("described hf://org/absent", "hf://org/absent has none of model.safetensors, "),
        ("described hf://org/name@v3", "hf://org/name@v3 has none of model.safetensors, "),
        (
            "described hf://org/name:absent.safetensors",
            "absent.safetensors has none of absent.safetensors in the cache ",
        ),
        ("described hf://org/name@v3", "and the hub can't be reached; fetch it where it can, or unset HF_HUB_OFFLINE"),
        ("described hf://org/name@bad", "the index names '../../../refs/main', which is not a weights file"),
        ("described hf://a/b/c", "hf://a/b/c can't be fetched: "),
        ("tokenized hf://org/name@v2", "hf://org/name@v2 has no tokenizer's files beside it"),
    ],
)
def test_what_is_absent_is_said_in_one_line(asked, says, answers):
    assert isinstance(answers[asked], str)
    assert says in answers[asked]
    assert "\n" not in answers[asked]
