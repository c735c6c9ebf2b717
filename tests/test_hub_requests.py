"""The hub is asked once for each file, and what it fails to answer is said."""

import collections
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from test_convert import CLASSES, TIMM, assert_same, write

from jtransfer import generate, weights
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.data.source import unlabelled
from jtransfer.modalities.text.modality import Text
from jtransfer.runs import initialize
from jtransfer.weights import conversion, listing
from jtransfer.weights.identify import sidecar_files
from jtransfer.weights.sources import reach

SOURCE = "hf://org/name"


class Hub:
    """What stands for the hub: a folder of files; `asked` counts the requests for each file, and for the list ("*")."""

    def __init__(self, remote, cache):
        self.remote, self.cache = remote, cache
        self.asked = collections.Counter()
        self.failures = {}

    def __call__(self, repo, file, *, revision=None):
        self.asked[file] += 1
        if file in self.failures:
            raise self.failures[file]
        if not (self.remote / file).is_file():
            raise errors.EntryNotFoundError(f"404: {file}")
        (self.cache / file).parent.mkdir(parents=True, exist_ok=True)
        return shutil.copyfile(self.remote / file, self.cache / file)

    def model_info(self, repo, *, revision=None, timeout=None):
        self.asked["*"] += 1
        if "*" in self.failures:
            raise self.failures["*"]
        files = sorted(path for path in self.remote.rglob("*") if path.is_file())
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=str(p.relative_to(self.remote))) for p in files])


def served(monkeypatch, hub):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(reach, "unreachable", lambda: None)
    return hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    remote = write(tmp_path / "remote", "convnext_timm_75", {"config.json": TIMM})
    (remote / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb")
    found = Hub(remote, tmp_path / "snapshot")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return served(monkeypatch, found)


def restore(folder):
    assert weights.restore(SOURCE, classes=[*CLASSES[:2], "new"], adapt=True)[0].num_classes == 3


def start_a_run(folder):
    init = initialize.open(SOURCE)
    assert Text().open((folder, init), unlabelled(0, dict)).vocabulary.vocabulary == 7
    assert generate.read(init, encoder_decoder=False)
    spec = weights.describe(init)
    _, report = initialize.variables(init, spec.model, sharding.make_mesh({"data": -1}), "replicate")
    assert report.loaded


USES = {
    "restore": restore,
    "convert": lambda folder: conversion.convert(SOURCE, folder / "new"),
    "inspect": lambda folder: list(listing.lines(SOURCE)),
    "a run": start_a_run,
}


@pytest.mark.parametrize("use", USES)
def test_each_file_is_asked_for_once(use, hub, tmp_path):
    USES[use](tmp_path)
    assert hub.asked["model.safetensors"] == hub.asked["config.json"] == 1
    assert set(hub.asked.values()) == {1}


def test_files_are_listed_in_place_of_being_asked_for_by_each_usual_name(hub):
    (hub.remote / "model.safetensors").rename(hub.remote / "pytorch_model.bin")
    assert weights.restore(SOURCE)[2].loaded
    assert [name for name in hub.asked if name == "*" or name.startswith(("model.", "pytorch_"))] == [
        "*",
        "pytorch_model.bin",
    ]


def test_a_named_file_needs_no_list(hub):
    opened = weights.open(f"{SOURCE}:model.safetensors")
    assert opened.tensors
    assert opened.notes == ()
    assert hub.asked == {"model.safetensors": 1}


@pytest.mark.parametrize("failure", [OSError("no such page"), RuntimeError("of a client's own type")])
def test_a_hub_without_a_list_is_asked_by_usual_names(failure, hub):
    hub.failures["*"] = failure
    (hub.remote / "pytorch_model.bin").touch()
    opened = weights.open(SOURCE)
    assert opened.tensors
    assert opened.notes == ()
    (hub.remote / "model.safetensors").unlink()
    (hub.remote / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"has none of model\.safetensors, .*; name one of its files, as hf://"):
        _ = weights.open(SOURCE).tensors


def test_tokenizers_and_class_names_need_no_weights(hub):
    assert weights.class_names(SOURCE) == tuple(CLASSES)
    assert weights.open(SOURCE).file("vocab.txt").name == "vocab.txt"
    assert "model.safetensors" not in hub.asked


def http(status):
    return SimpleNamespace(status_code=status, headers={}, request=None)


def unreachable(cause):
    error = errors.LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")
    error.__cause__ = cause
    return error


FAILURES = {
    "503 Service Unavailable": errors.HfHubHTTPError("503 Service Unavailable", response=http(503)),
    "401 Unauthorized": errors.RepositoryNotFoundError("401 Unauthorized", response=http(401)),
    "403 Forbidden": errors.GatedRepoError("403 Forbidden", response=http(403)),
    "timed out": unreachable(TimeoutError("timed out")),
    "connection refused": unreachable(ConnectionError("connection refused")),
    "no route to host": OSError("no route to host"),
}


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json", "source.json"])
@pytest.mark.parametrize("reason", FAILURES)
def test_a_hub_that_fails_is_no_hub_without_the_file(reason, file, hub):
    hub.failures[file] = FAILURES[reason]
    with pytest.raises(InputError, match=f"hf://org/name can't be fetched: {file}: {reason}") as caught:
        weights.restore(SOURCE)
    assert "\n" not in str(caught.value)


def test_what_the_hub_is_known_not_to_have_is_absent_also_while_it_fails(hub, tmp_path):
    expected = weights.restore(hub.remote)
    repo = tmp_path / "cache" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    absent = [name for name in ("source.json", *sidecar_files.FILES) if name != "config.json"]
    for name in absent:
        (repo / ".no_exist" / ("0" * 40) / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / ".no_exist" / ("0" * 40) / name).touch()
    hub.failures = dict.fromkeys(absent, FAILURES["timed out"])
    assert_same(weights.restore(SOURCE)[1], expected[1])


def test_offline_what_is_not_in_the_cache_is_absent(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.failures["preprocessor_config.json"] = unreachable(errors.OfflineModeIsEnabled("offline"))
    assert weights.restore(SOURCE)[2].loaded
