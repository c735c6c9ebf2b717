"""A bucket is a source as a folder is: here, one that fsspec serves from a folder."""

import collections
import json
import os
import sys

import pytest
import references
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem
from safetensors.numpy import save_file
from test_convert import CLASSES, TIMM, assert_same, write

from jtransfer import inspect, weights
from jtransfer.core import bucket as buckets
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.data.source import unlabelled
from jtransfer.modalities.text import modality
from jtransfer.weights import conversion, listing


class Bucket(LocalFileSystem):
    """The objects of gs://BUCKET/… are the files of root/BUCKET/…"""

    protocol = ("gs", "gcs", "s3", "az")
    root = ""
    opened = ()

    @classmethod
    def _strip_protocol(cls, path):
        return os.path.join(cls.root, path.partition("://")[2]) if "://" in path else path

    def _open(self, path, mode="rb", **options):
        type(self).opened = (*self.opened, os.path.relpath(path, self.root))
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder of gs://bucket; what was read of it is in `Bucket.opened`."""
    monkeypatch.setattr(Bucket, "root", str(tmp_path / "remote"))
    monkeypatch.setattr(Bucket, "opened", ())
    monkeypatch.setattr(type(backend.fsspec_backend), "_get_filesystem", lambda self, name: Bucket())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "remote" / "bucket"


def fetched():
    """The bucket's files that were read since this was last asked."""
    found = sorted(path.removeprefix("bucket/") for path in Bucket.opened if path.startswith("bucket/"))
    Bucket.opened = ()
    return found


def test_a_folder_with_its_configuration(bucket):
    folder = write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})
    model, variables, _ = weights.restore("gs://bucket/hub")
    assert_same(variables, weights.restore(folder)[1])
    assert weights.class_names("gs://bucket/hub") == tuple(CLASSES)
    assert model.image_size == 75
    assert fetched() == ["hub/config.json", "hub/model.safetensors"]


def test_a_file_and_what_is_beside_it(bucket):
    folder = write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})
    (folder / "another.bin").write_bytes(b"large")
    model, _, _ = weights.restore("gs://bucket/hub/model.safetensors")
    assert model.image_size == 75
    assert fetched() == ["hub/config.json", "hub/model.safetensors"]


@pytest.mark.parametrize("source", ["gs://bucket/new", "gs://bucket/new/"])
def test_a_converted_checkpoint_is_itself(source, bucket, tmp_path):
    folder = write(tmp_path / "hub", "convnext_timm_75", {"config.json": TIMM})
    bucket.mkdir(parents=True)
    conversion.convert(folder, bucket / "new")
    model, variables, report = weights.restore(source)
    mine, expected, whole = weights.restore(bucket / "new")
    assert (model, report.digest) == (mine, whole.digest)
    assert_same(variables, expected)
    assert "model: convnext_tiny" in "\n".join(listing.lines(source))
    assert any(path.startswith("new/d/") for path in fetched())


def test_nothing_is_fetched_twice_until_it_changes(bucket):
    folder = write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})
    assert weights.class_names("gs://bucket/hub") == tuple(CLASSES)
    assert fetched() == ["hub/config.json"]
    weights.restore("gs://bucket/hub")
    assert fetched() == ["hub/model.safetensors"]
    weights.restore("gs://bucket/hub")
    assert fetched() == []
    pretrained = TIMM["pretrained_cfg"] | {"label_names": [f"other {i}" for i in range(references.CLASSES)]}
    (folder / "config.json").write_text(json.dumps(TIMM | {"pretrained_cfg": pretrained}))
    assert weights.class_names("gs://bucket/hub")[0] == "other 0"
    assert fetched() == ["hub/config.json"]
    tensors = {name: tensor.read() * 2 for name, tensor in references.load("convnext_timm_75").tensors.items()}
    later = (folder / "model.safetensors").stat().st_mtime + 60
    save_file(tensors, folder / "model.safetensors")
    os.utime(folder / "model.safetensors", (later, later))
    assert_same(weights.restore("gs://bucket/hub")[1], weights.restore(folder)[1])
    assert fetched() == ["hub/model.safetensors"]


USES = {
    "restore": lambda source, folder: weights.restore(source, classes=CLASSES[:2], adapt=True),
    "convert": lambda source, folder: conversion.convert(source, folder / "new"),
    "inspect": lambda source, folder: list(listing.lines(source)),
}


@pytest.mark.parametrize("source", ["gs://bucket/hub", "gs://bucket/hub/model.safetensors"])
@pytest.mark.parametrize("use", USES)
def test_each_file_is_asked_for_once(use, source, bucket, tmp_path, monkeypatch):
    asked = collections.Counter()
    stat = buckets.stat
    monkeypatch.setattr(buckets, "stat", lambda path: asked.update([path]) or stat(path))
    write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})
    USES[use](source, tmp_path)
    assert {f"gs://bucket/hub/{name}" for name in ("config.json", "model.safetensors", "source.json")} <= set(asked)
    assert set(asked.values()) == {1}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_bucket_that_fails_is_no_bucket_without_the_file(name, bucket, monkeypatch):
    write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})

    def info(self, path, **options):
        if path.endswith(name):
            raise OSError("403 Forbidden\nfor you")
        return LocalFileSystem.info(self, path, **options)

    monkeypatch.setattr(Bucket, "info", info)
    with pytest.raises(InputError, match=f"gs://bucket/hub/{name} can't be read: 403 Forbidden$"):
        weights.restore("gs://bucket/hub/model.safetensors")


def test_a_part_of_a_file(bucket, tmp_path):
    reference = references.load("convnext_timm_75")
    bucket.mkdir(parents=True)
    tensors = {f"img/{name}": tensor.read() for name, tensor in reference.tensors.items()}
    save_file(tensors, bucket / "two.safetensors")
    (bucket / "two.safetensors").with_name("config.json").write_text(json.dumps(TIMM))
    _, variables, _ = weights.restore("gs://bucket/two.safetensors:img")
    folder = write(tmp_path / "hub", "convnext_timm_75", {"config.json": TIMM})
    assert_same(variables, weights.restore(folder)[1])


def error(capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        run_command(inspect.main, ["inspect", *argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_is_not_there(bucket, capsys):
    assert "no weights at 'gs://bucket/absent': it does not exist, or" in error(capsys, "gs://bucket/absent")


def test_a_name_that_leads_out_of_the_cache(bucket, monkeypatch):
    bucket.mkdir(parents=True)
    monkeypatch.setattr(Bucket, "ls", lambda self, path, detail=False, **options: [f"{path}/.."])
    with pytest.raises(InputError, match=r"gs://bucket: '\.\.' is no name of a file in it"):
        weights.resolve("gs://bucket")


def test_without_the_client(capsys, monkeypatch):
    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "gs://bucket/x can't be read: " in (text := error(capsys, "gs://bucket/x"))
    assert "pip install 'jtransfer[gcs]'" in text


def test_a_runs_tokenizer_is_kept_there_and_found_again(bucket, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb")
    (tmp_path / "source" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    bucket.mkdir(parents=True)
    text = modality.Text(tokenizer=str(tmp_path / "source"))
    found = text.open(("gs://bucket/run", "scratch"), unlabelled(0, dict)).vocabulary
    (bucket / "run").mkdir()
    (bucket / "run" / "tokenizer.part").mkdir()
    assert modality.kept("gs://bucket/run") is None
    modality.keep(found, "gs://bucket/run")
    assert [path.name for path in (bucket / "run").iterdir()] == ["tokenizer"]
    assert sorted(path.name for path in (bucket / "run" / "tokenizer").iterdir()) == [
        "tokenizer_config.json",
        "vocab.txt",
    ]
    for places in (("gs://bucket/run", "hf://org/unread"), ("gs://bucket/another", "gs://bucket/run")):
        again = modality.Text().open(places, unlabelled(0, dict)).vocabulary
        assert again.encode("a b a") == found.encode("a b a")
