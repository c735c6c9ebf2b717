"""Exports are uploaded to the Hugging Face hub, by a stub of its client."""

from typing import ClassVar

import huggingface_hub
import pytest
from test_sentence_classifier import store

from jtransfer import export as command
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export, hub


class Stub:
    """A hub that keeps what it is asked for."""

    asked: ClassVar[list] = []
    has_card: ClassVar[bool] = False
    refuses: ClassVar[Exception | None] = None

    def create_repo(self, name, *, private, exist_ok):
        if self.refuses:
            raise self.refuses
        self.asked.append(("create", name, private, exist_ok))
        return f"https://huggingface.co/{name}"

    def file_exists(self, name, file):
        return self.has_card

    def upload_folder(self, *, repo_id, folder_path, commit_message, ignore_patterns):
        self.asked.append(("upload", repo_id, str(folder_path), ignore_patterns))


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(Stub, "asked", [])
    monkeypatch.setattr(huggingface_hub, "HfApi", Stub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    return Stub


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return store("bert_base", "mean", tmp_path_factory.mktemp("pushed") / "source")[0]


@pytest.mark.parametrize(("flags", "private"), [([], None), (["--private"], True), (["--noprivate"], False)])
def test_an_export_is_uploaded(flags, private, source, stub, tmp_path, capsys):
    dest = str(tmp_path / "new")
    given = ["export", str(source), dest, "--format=hf", "--push=hf://org/name", *flags]
    run_command(command.main, given)
    assert stub.asked == [("create", "org/name", private, True), ("upload", "org/name", dest, None)]
    assert "https://huggingface.co/org/name" in capsys.readouterr().out


def test_a_card_of_the_repository_is_kept(source, stub, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(Stub, "has_card", True)
    export.export(source, tmp_path / "new", "npz", push="hf://org/name")
    assert stub.asked[-1][-1] == ["README.md"]
    assert "which is kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "address", ["hf://name", "org/name", "hf://org/name/x", "gs://org/name", "hf://o rg/name", "hf://"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_written(address, source, stub, tmp_path):
    with pytest.raises(InputError, match="--push="):
        export.export(source, tmp_path / "new", "npz", push=address)
    assert (stub.asked, list(tmp_path.iterdir())) == ([], [])


def test_without_a_token_nothing_is_written(source, stub, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match="needs a token that may write: set HF_TOKEN") as found:
        export.export(source, tmp_path / "new", "npz", push="hf://org/name")
    assert "\n" not in str(found.value)
    assert (stub.asked, list(tmp_path.iterdir())) == ([], [])


def test_an_export_that_is_refused_is_not_uploaded(source, stub, tmp_path):
    with pytest.raises(InputError, match="timm has no BERT"):
        export.export(source, tmp_path / "new", "timm", push="hf://org/name")
    assert stub.asked == []


def test_a_hub_that_refuses_is_one_line(stub, monkeypatch, tmp_path):
    monkeypatch.setattr(Stub, "refuses", PermissionError("403 Forbidden: no write access\nsecond line"))
    with pytest.raises(InputError, match="can't be written to: 403 Forbidden: no write access; the export is"):
        hub.upload(tmp_path, "org/name")
