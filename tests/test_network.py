"""Without a network, a permission or a client, or behind a dead proxy: one line, soon, before anything is written."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import huggingface_hub
import numpy as np
import pytest
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem
from huggingface_hub import constants
from test_bucket import Bucket, bucket  # noqa: F401
from test_convert import TIMM, write

from jtransfer import config as configs
from jtransfer import data, predict, train, weights
from jtransfer.core import bucket as buckets
from jtransfer.core.errors import InputError
from jtransfer.modalities.text import tokenizers
from jtransfer.runs.open import open as open_run
from jtransfer.weights.sources import reach

EARLIER = os.path.join(os.path.dirname(__file__), "references", "earlier")


@contextlib.contextmanager
def silent():
    """The address of a server that takes connections and never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(16)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def refused():
    """The address of a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(reach, "_SECONDS", 1.0)
    monkeypatch.setattr(reach, "_known", {})


@pytest.mark.parametrize("hub", [silent, refused])
def test_a_hub_that_can_t_be_reached_is_said_once_and_soon(hub, home, monkeypatch, capfd):
    with hub() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        began = time.monotonic()
        for use in (weights.restore, lambda source: weights.restore(f"{source}:model.safetensors"), tokenizers.open):
            with pytest.raises(
                InputError, match=f"hf://org/name can't be fetched: .*the hub at {address} can't be"
            ) as caught:
                use("hf://org/name")
            assert "\n" not in str(caught.value)
        assert time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


def test_what_is_in_the_cache_is_taken_without_a_network(home, monkeypatch, tmp_path):
    folder = write(tmp_path / "source", "convnext_timm_75", {"config.json": TIMM})
    repo = tmp_path / "hub" / "models--org--name"
    snapshot = repo / "snapshots" / ("1" * 40)
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("1" * 40)
    with refused() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert weights.open("hf://org/name").tensors
        with pytest.raises(InputError, match=r"hf://org/name can't be fetched: source.json: the hub at .* can't be"):
            weights.open("hf://org/name").file("source.json")


def test_a_hub_that_is_back_is_asked_again_after_a_while(home, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    answers = iter(["down", None])
    monkeypatch.setattr(reach, "_why", lambda endpoint: next(answers))
    assert reach.unreachable() == reach.unreachable() == "the hub at http://hub.invalid can't be reached: down"
    monkeypatch.setattr(reach, "_AGAIN", -1.0)
    assert reach.unreachable() is None
    assert reach.unreachable() is None


def test_an_address_that_is_searched_for_without_end_is_given_up(home, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(reach, "_MORE", -0.9)
    monkeypatch.setattr(reach, "_why", lambda endpoint: time.sleep(1))
    assert reach.unreachable() == "the hub at http://hub.invalid can't be reached: no answer"


class Fake(http.server.BaseHTTPRequestHandler):
    """A hub whose repositories nobody may read."""

    def do_HEAD(self):
        code, error = (403, "GatedRepo") if "gated" in self.path else (401, "RepoNotFound")
        if self.path == "/":
            code, error = 200, ""
        self.server.seen.append((self.command, self.path, self.headers.get("authorization")))
        self.send_response(code)
        self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("name", "says"), [("gated", "it is gated: ask for access at "), ("private", "or it is private: look at ")]
)
def test_a_repository_that_is_not_shown_names_its_page_and_the_token(name, says, fake, home, monkeypatch):
    address = f"http://127.0.0.1:{fake.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with pytest.raises(InputError, match=f"{says}{address}/org/{name}.*HF_TOKEN") as caught:
        weights.restore(f"hf://org/{name}:model.safetensors")
    assert "\n" not in str(caught.value)
    assert ("HEAD", f"/org/{name}/resolve/main/source.json", "Bearer hf_mine") in fake.seen


PROXY = """
from jtransfer import weights
try:
    weights.restore("hf://org/name")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_dead_proxy(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env = clean | {"HTTPS_PROXY": "http://127.0.0.1:9", "HF_ENDPOINT": "https://hub.invalid", "HF_HOME": str(tmp_path)}
    env.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROXY], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("InputError hf://org/name can't be fetched: ")
    assert "the hub at https://hub.invalid can't be reached" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def without_clients(monkeypatch):
    backend.fsspec_backend._get_filesystem.cache_clear()
    for name in ("gcsfs", "s3fs", "adlfs"):
        monkeypatch.setitem(sys.modules, name, None)


def config_of(**fields):
    config = configs.default()
    config.update_from_flattened_dict(fields)
    return config


USES = {
    "a workdir": lambda address, folder: train.run(config_of(), address),
    "a run": lambda address, folder: open_run(address),
    "predict": lambda address, folder: predict.load(address),
    "weights": lambda address, folder: weights.restore(address),
    "a tokenizer": lambda address, folder: tokenizers.open(address),
    "init": lambda address, folder: train.run(config_of(init=address), folder / "run"),
    "data": lambda address, folder: data.open({"name": f"csv:{address}", "modality": "text"}, "train"),
    "folders": lambda address, folder: data.open({"name": f"folder:{address}"}, "train"),
    "images of a table": lambda address, folder: data.open({"name": "csv:x.csv", "image_dir": address}, "train"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("s3", "s3"), ("az", "az")])
def test_a_client_that_is_missing_is_one_line(scheme, extra, use, without_clients, tmp_path):
    written = "a run is written into a folder of this machine or of gs://"
    says = (
        written
        if use == "a workdir" and scheme != "gs"
        else rf"{scheme}://b/x.* \(pip install 'jtransfer\[{extra}\]'\)"
    )
    with pytest.raises(InputError, match=says) as caught:
        USES[use](f"{scheme}://b/x", tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["pypi://numpy", "hf://org/name", "http://host/x", "ftp://host"])
def test_an_address_of_weights_is_no_run(address, tmp_path):
    with pytest.raises(InputError, match="is an address of weights and no run; give the folder of a run"):
        predict.load(address)
    with pytest.raises(InputError, match="a run is written into a folder of this machine"):
        train.run(config_of(), address)


@pytest.mark.parametrize("scheme", ["gs", "s3", "az"])
def test_data_weights_and_runs_are_read_from_buckets(scheme, bucket, tmp_path):  # noqa: F811
    write(bucket / "hub", "convnext_timm_75", {"config.json": TIMM})
    assert weights.restore(f"{scheme}://bucket/hub")[0].image_size == 75
    (bucket / "texts").mkdir()
    for split in ("train", "test"):
        (bucket / "texts" / f"{split}.csv").write_text(f"text,label\na {split},x\nb,y\n")
    for name in ("texts", "texts/{train,test}.csv"):
        source = data.open({"name": f"csv:{scheme}://bucket/{name}", "modality": "text"}, "test")
        assert source[0]["text"] == "a test"
    (bucket / "texts" / "train.csv").unlink()
    with pytest.raises(InputError, match="train"):
        data.open({"name": f"csv:{scheme}://bucket/texts", "modality": "text"}, "train")
    np.savez(bucket / "v.npz", features=np.ones((4, 3), np.float32), labels=np.arange(4) % 2)
    assert len(data.open({"name": f"npz:{scheme}://bucket/v.npz", "modality": "vector"}, "all")) == 4
    with pytest.raises(InputError, match=f"{scheme}://bucket/none: there is no such file or folder"):
        data.open({"name": f"folder:{scheme}://bucket/none"}, "train")
    (bucket / "run").symlink_to(f"{EARLIER}/texts")
    assert open_run(f"{scheme}://bucket/run").class_names == ["bad", "good"]
    assert tokenizers.open(f"{scheme}://bucket/run").vocabulary == tokenizers.open(f"{EARLIER}/texts").vocabulary


def test_a_bucket_tells_by_other_names_when_a_file_was_changed(bucket, monkeypatch):  # noqa: F811
    import datetime

    bucket.mkdir(parents=True)
    (bucket / "x").write_text("a")
    info, told = LocalFileSystem.info, datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)

    def other(self, path, **options):
        found = info(self, path, **options)
        return {name: value for name, value in found.items() if name != "mtime"} | {"LastModified": told}

    monkeypatch.setattr(Bucket, "info", other)
    assert buckets.fetched("s3://bucket/x").read_text() == "a"
    (bucket / "x").write_text("b")
    assert buckets.fetched("s3://bucket/x").read_text() == "a"  # of the same size and time
    told += datetime.timedelta(seconds=1)
    assert buckets.fetched("s3://bucket/x").read_text() == "b"


def test_a_tokenizer_is_opened_from_any_address(bucket, monkeypatch, tmp_path):  # noqa: F811
    expected = tokenizers.open(f"{EARLIER}/texts/tokenizer")("a b", length=4)["input_ids"].tolist()
    for source in (f"{EARLIER}/texts", f"{EARLIER}/texts/tokenizer/vocab.txt"):
        assert tokenizers.open(source)("a b", length=4)["input_ids"].tolist() == expected
    files = {name: f"{EARLIER}/texts/tokenizer/{name}" for name in os.listdir(f"{EARLIER}/texts/tokenizer")}

    def download(repo, file, **_):
        if file not in files:
            raise huggingface_hub.errors.EntryNotFoundError("404")
        return files[file]

    monkeypatch.setattr(reach, "unreachable", lambda: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert tokenizers.open("hf://org/name")("a b", length=4)["input_ids"].tolist() == expected
    with pytest.raises(InputError, match="pypi://no-such-thing is not installed: pip install"):
        tokenizers.open("pypi://no-such-thing")
    with pytest.raises(InputError, match="unknown source 'http://x'"):
        tokenizers.open("http://x")
