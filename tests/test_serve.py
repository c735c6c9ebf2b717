"""A server answers what `predict` says, in few batches; it says what it can't take, and ends when all are answered."""

import asyncio
import base64
import contextlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import chromium
import jax
import numpy as np
import pytest
import tiny_vectors
from chromium import needs_chromium
from PIL import Image

from jtransfer import predict, runs, serve, serving, train
from jtransfer.core.errors import InputError
from jtransfer.serving import compilations, measured
from jtransfer.serving.batching import Batcher, Full
from jtransfer.serving.model import Model
from jtransfer.serving.sent import Sent
from jtransfer.serving.sent import read as read_sent
from jtransfer.tasks import answers

EARLIER = Path(__file__).parent / "references" / "earlier"
needs_starlette = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "python_multipart", "httpx")),
    reason="needs the extra `serve`",
)


def png(seed, size=(40, 50)):
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def client(run, **limits):
    from starlette.testclient import TestClient

    return TestClient(serve.app(run, **limits))


@pytest.fixture(scope="module")
def images():
    """A client of a server of a run on images, and the server's counts."""
    with client(EARLIER / "images", max_batch=4, max_bytes=100_000) as found:
        yield found


def probabilities(prediction):
    return {one["class"]: one["probability"] for one in prediction["top"]}


def assert_as_predicted(predictions, run, paths):
    expected, names = predict.predict(run, [str(path) for path in paths])
    for prediction, probs in zip(predictions, expected, strict=True):
        best = names[int(probs.argmax())]
        assert prediction["class"] == best
        found = probabilities(prediction)
        assert found == pytest.approx({name: probs[names.index(name)] for name in found}, abs=2e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)


WAYS = {
    "body": lambda files: {"content": files[0], "headers": {"content-type": "image/png"}},
    "body without a type": lambda files: {"content": files[0]},
    "body as curl sends it": lambda files: {
        "content": files[0],
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "form": lambda files: {"files": [("file", (f"{i}.png", file)) for i, file in enumerate(files)]},
    "json": lambda files: {"json": {"inputs": [{"base64": base64.b64encode(file).decode()} for file in files]}},
    "json of one": lambda files: {"json": {"inputs": {"base64": base64.b64encode(files[0]).decode()}}},
}


@needs_starlette
@pytest.mark.parametrize("way", WAYS)
def test_images_are_predicted_however_they_come(way, images, tmp_path):
    files = [png(i, (40 + i, 50)) for i in range(6)]
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file)
    answer = images.post("/predict", **WAYS[way](files))
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert_as_predicted(predictions, EARLIER / "images", paths[: len(predictions)])
    assert len(predictions) == (6 if way in ("form", "json") else 1)


@needs_starlette
def test_as_many_classes_as_are_asked_for(images):
    for k, expected in ((1, 1), (3, 3), (1000, len(images.get("/info").json()["classes"]))):
        prediction = images.post(f"/predict?top_k={k}", content=png(0)).json()["predictions"][0]
        assert len(prediction["top"]) == expected


WRONG = {
    "no image": (400, {"content": b"no image"}, "cannot read the image the file: "),
    "cut short": (400, {"content": png(0)[:2000]}, "cannot read the image"),
    "the second is none": (400, {"files": [("a", ("a.png", png(0))), ("a", ("b.png", b"x"))]}, "input 1: cannot read"),
    "nothing": (400, {"content": b""}, "holds no example; send the content of a file"),
    "an empty form": (
        400,
        {"content": b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        "no",
    ),
    "a form without boundary": (400, {"content": b"a", "headers": {"content-type": "multipart/form-data"}}, "form"),
    "a text": (400, {"content": "/etc/passwd", "headers": {"content-type": "text/plain"}}, "not given a text; send"),
    "a path": (400, {"json": {"inputs": ["/etc/passwd"]}}, "this model is not given a text"),
    "numbers": (400, {"json": {"inputs": [1, 2]}}, "this model is not given a list of numbers"),
    "not JSON": (400, {"content": "{", "headers": {"content-type": "application/json"}}, "the body is not JSON"),
    "deep JSON": (400, {"content": "[" * 40000, "headers": {"content-type": "application/json"}}, "is not JSON"),
    "other JSON": (400, {"json": {"input": 1}}, "send JSON such as"),
    "a null": (400, {"json": {"inputs": [None]}}, "send JSON such as"),
    "no base64": (400, {"json": {"inputs": [{"base64": "*"}]}}, "the base64 of an input can't be read"),
    "too much": (413, {"content": b"x" * 100_001}, "a request has at most 100,000 bytes"),
    "too much, unsaid": (413, {"content": iter([b"x" * 80_000, b"x" * 80_000])}, "a request has at most 100,000 bytes"),
    "too many": (400, {"json": {"inputs": ["a"] * 600}}, "a request holds 600 examples; send at most 512"),
}


@needs_starlette
@pytest.mark.parametrize("what", WRONG)
def test_what_can_t_be_taken_is_said_in_one_line(what, images):
    status, request, says = WRONG[what]
    answer = images.post("/predict", **request)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert "/tmp" not in answer.json()["error"]


@needs_starlette
@pytest.mark.parametrize("text", ["0", "-1", "x", "²", "1.5", "9" * 5000])
def test_a_wrong_number_of_classes(text, images):
    answer = images.post("/predict", params={"top_k": text}, content=png(0))
    assert (answer.status_code, "top_k=" in answer.json()["error"]) == (400, True)


@needs_starlette
def test_other_paths_and_methods_are_errors_in_json(images):
    assert images.get("/predict").status_code == 405
    assert images.get("/nowhere").status_code == 404
    assert "/nowhere" in images.get("/nowhere").json()["error"]


@needs_starlette
def test_many_at_once_share_batches_without_another_compilation(images):
    before, text = compilations.count(), images.get("/metrics").text
    with_batches = value(text, "jtransfer_batch_size_count")
    answers_, threads = [], []
    for i in range(24):
        threads.append(threading.Thread(target=lambda i=i: answers_.append(images.post("/predict", content=png(i)))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers_] == [200] * 24
    assert compilations.count() == before
    assert value(images.get("/metrics").text, "jtransfer_batch_size_count") - with_batches < 24


def value(text, name):
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


@needs_starlette
def test_what_is_served_is_told(images):
    assert images.post("/predict", content=png(0)).status_code == 200
    assert images.get("/health").json() == {"status": "ready"}
    info = images.get("/info").json()
    assert (info["run"], info["task"], info["inputs"], info["batch_sizes"]) == (
        "images",
        "classify",
        ["file"],
        [1, 2, 4],
    )
    text = images.get("/metrics").text
    assert 'jtransfer_requests_total{code="200"}' in text
    assert value(text, "jtransfer_held_examples") == 0
    page = images.get("/")
    assert "script-src" in page.headers["content-security-policy"]
    assert 'type="file"' in page.text
    assert "<textarea" not in page.text
    assert "http" not in page.text.replace("http-equiv", "")  # nothing from elsewhere


TEXTS = {
    "json": {"json": {"inputs": ["what a day", "no"]}},
    "form": {"data": {"a": "what a day", "b": "no"}},
    "multipart": {"files": [("a", (None, "what a day")), ("b", (None, "no"))]},
    "plain": {"content": "what a day", "headers": {"content-type": "text/plain"}},
}


@needs_starlette
def test_texts_are_predicted_however_they_come():
    run = EARLIER / "texts"
    expected, names = predict.predict(run, ["what a day", "no"])
    with client(run, max_batch=2) as texts:
        before = compilations.count()
        for request in TEXTS.values():
            found = texts.post("/predict", **request).json()["predictions"]
            for prediction, probs in zip(found, expected, strict=False):
                assert probabilities(prediction) == pytest.approx(dict(zip(names, probs, strict=True)), abs=2e-6)
            assert len(found) == (1 if "content" in request else 2)
        texts.post("/predict", json={"inputs": ["word " * n for n in (1, 40, 80, 200)]})
        assert compilations.count() == before
        for empty in ("", " ", "\t", "\0"):
            assert texts.post("/predict", json={"inputs": [empty]}).status_code == 200
        assert texts.post("/predict", content=b"\xff", headers={"content-type": "text/plain"}).status_code == 400
        assert texts.post("/predict", content=png(0)).json()["error"].endswith("of a file; send a text")
        assert "<textarea" in texts.get("/").text


@needs_starlette
def test_texts_are_generated():
    run = EARLIER / "translations"
    expected, _ = predict.table(run, ["a b"])
    with client(run, max_batch=1) as texts:
        before = compilations.count()
        assert texts.post("/predict", json={"inputs": ["a b"]}).json() == {
            "predictions": [{"text": str(expected["written"][0])}]
        }
        both = [texts.post("/predict", json={"inputs": inputs}) for inputs in ([""], ["a b"])]
        assert [answer.status_code for answer in both] in ([200, 200], [400, 200])
        assert compilations.count() == before


@needs_starlette
def test_vectors_are_predicted_however_they_come(tmp_path):
    train.run(tiny_vectors.config_of(tmp_path), tmp_path / "run")
    vectors = np.random.default_rng(0).normal(size=(3, tiny_vectors.FEATURES)).astype(np.float32)
    np.save(tmp_path / "one.npy", vectors[0])
    expected, names = predict.predict(tmp_path / "run", [",".join(map(str, vector)) for vector in vectors.tolist()])
    with client(tmp_path / "run", max_batch=2) as found:
        for request in (
            {"json": {"inputs": vectors.tolist()}},
            {"json": {"inputs": vectors[0].tolist()}},
            {"content": ",".join(map(str, vectors[0].tolist())), "headers": {"content-type": "text/plain"}},
            {"content": (tmp_path / "one.npy").read_bytes()},
        ):
            predictions = found.post("/predict", **request).json()["predictions"]
            for prediction, probs in zip(predictions, expected, strict=False):
                assert probabilities(prediction) == pytest.approx(dict(zip(names, probs, strict=True)), abs=2e-6)
        wrong = {"[1]": "the run takes 6 numbers", f'"{tmp_path}/one.npy"': "is no list of numbers", "[NaN]": "finite"}
        for content, says in wrong.items():
            answer = found.post(
                "/predict", content=f'{{"inputs": {content}}}', headers={"content-type": "application/json"}
            )
            assert (answer.status_code, says in answer.json()["error"]) == (400, True), answer.text


def test_no_text_is_taken_for_a_file(tmp_path):
    (tmp_path / "secret").write_text("s")
    for takes in (("file",), ("numbers",), ("numbers", "file")):
        with pytest.raises(InputError):
            read_sent(Sent(str(tmp_path / "secret")), takes, lambda given: Path(given).read_text())
    assert read_sent(Sent(b"own", "a.wav"), ("file",), lambda given: (Path(given).read_text(), given[-4:]))[1] == (
        "own",
        ".wav",
    )


def test_answers_of_each_task():
    names, logits = ["a", "b", "c"], np.array([[0.0, 2.0, -3.0]], np.float32)
    several = next(answers.several(["x"], {"logits": logits}, names, 2))
    assert several["classes"] == ["b"]
    assert several["top"] == [
        {"class": "b", "probability": pytest.approx(1 / (1 + np.exp(-2)))},
        {"class": "a", "probability": 0.5},
    ]
    assert next(answers.numbers(["x"], {"logits": np.array([[1.5]])}, [], 5)) == {"number": 1.5}
    table = {"predicted": np.array([[0, 2, 1, 0]]), "label": np.array([[-1, 0, 0, -1]])}
    assert next(answers.tags(["one two three"], table, names, 5)) == {
        "tags": [{"word": "one", "class": "c"}, {"word": "two", "class": "b"}, {"word": "three", "class": None}]
    }
    embedded = {"embeddings": np.array([[[1.0, 2.0], [3.0, 4.0]]])}
    assert next(answers.embeddings(["x"], embedded, [], 5)) == {"embedding": [1.0, 2.0]}
    assert next(answers.written(["x"], {"written": np.array(["y"])}, [], 5)) == {"text": "y"}
    assert next(answers.arrays(["x"], {"own": np.ones((1, 2)), "label": np.zeros(1)}, [], 5)) == {"own": [1.0, 1.0]}


async def gathered(items, compute, **options):
    """The results of items that arrive together, each by itself, and the sizes of the batches."""
    seen = []
    batcher = Batcher(
        compute, **{"max_batch": 4, "max_wait": 5.0, "max_queue": 100} | options, record=lambda n, s: seen.append(n)
    )
    running = asyncio.create_task(batcher.run())

    async def one(item):
        with batcher.room(1):
            return (await batcher.results([item]))[0]

    found = await asyncio.gather(*map(one, items), return_exceptions=True)
    running.cancel()
    return found, seen


def test_batches_are_full_and_nobody_waits_for_nobody():
    began = time.monotonic()
    found, seen = asyncio.run(gathered(range(10), lambda batch: [2 * item for item in batch]))
    assert found == [2 * i for i in range(10)]
    assert seen == [4, 4, 2]
    assert time.monotonic() - began < 2


def test_what_fails_fails_alone_and_what_has_no_room_is_refused():
    found, _ = asyncio.run(gathered(range(3), lambda batch: [ValueError(i) if i == 1 else i for i in batch]))
    assert (found[0], type(found[1]), found[2]) == (0, ValueError, 2)
    found, _ = asyncio.run(gathered(range(6), lambda batch: batch, max_queue=4))
    assert [type(one) is Full for one in found] == [False] * 4 + [True] * 2


def test_a_histogram_counts_up_to_its_bounds():
    histogram = measured.Histogram((1, 2))
    for number in (0.5, 1, 2, 3):
        histogram.add(number)
    assert list(histogram.lines("x")) == [
        'x_bucket{le="1"} 2', 'x_bucket{le="2"} 3', 'x_bucket{le="+Inf"} 4', "x_sum 6.5", "x_count 4",
    ]  # fmt: skip


@needs_starlette
def test_a_full_server_and_a_slow_one_say_so(monkeypatch):
    from jtransfer.serving.engine import Engine

    original, gate = Engine.compute, threading.Event()
    monkeypatch.setattr(Engine, "compute", lambda self, items: gate.wait(20) and original(self, items))
    with client(EARLIER / "images", max_batch=1, max_queue=2, timeout=1.0) as found:
        answers_ = []
        threads = [
            threading.Thread(target=lambda: answers_.append(found.post("/predict", content=png(0)))) for _ in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = sorted(answer.status_code for answer in answers_)
        assert codes == [503, 503, 504, 504]
        assert {answer.headers.get("retry-after") for answer in answers_ if answer.status_code == 503} == {"1"}
        gate.set()
        assert found.post("/predict", content=png(0)).status_code == 200


@contextlib.contextmanager
def serving_process(run):
    """A process that serves, and its address; it is told to end."""
    command = [sys.executable, "-m", "jtransfer.serve", str(run), "--port=0", "--max_batch=2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ, **pipes) as process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server():
    """The address of a server in a process of its own; it ends by SIGTERM while it is asked, with exit code 0."""
    import httpx

    with serving_process(EARLIER / "images") as (process, address):
        yield address
        assert httpx.post(f"{address}/predict", content=slow(process)).status_code == 200
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def slow(process):
    """The body of a request during which the server is told to stop."""
    content = png(0)
    yield content[:100]
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    yield content[100:]


@needs_starlette
def test_a_process_serves_and_ends_when_all_is_answered(server):
    import httpx

    assert httpx.post(f"{server}/predict", content=png(0)).status_code == 200


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    for name in ("web", "app", "bodies"):
        monkeypatch.delitem(sys.modules, f"jtransfer.serving.{name}", raising=False)
        monkeypatch.delattr(serving, name, raising=False)

    with pytest.raises(InputError, match=r"pip install 'jtransfer\[serve\]'"):
        serve.app(EARLIER / "images")


@needs_starlette
def test_a_port_that_is_taken():
    from jtransfer.serving import server

    with server.listen("127.0.0.1", 0) as bound:
        bound.listen()
        with pytest.raises(InputError, match=r"can't listen on 127\.0\.0\.1:.*give another --port"):
            server.listen("127.0.0.1", bound.getsockname()[1])


@needs_starlette
@pytest.mark.parametrize("limits", [{"max_batch": 0}, {"timeout": -1.0}, {"max_queue": 2}])
def test_limits_that_are_none(limits):
    with pytest.raises(InputError, match=f"--{next(iter(limits))}="):
        client(EARLIER / "images", **limits)


def test_parameters_lie_on_the_device():
    variables = Model(runs.open(EARLIER / "images")).variables
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(variables))


@needs_starlette
@needs_chromium
def test_the_page_in_a_browser(server, tmp_path):
    (tmp_path / "photo.png").write_bytes(png(3))
    (tmp_path / "none.png").write_bytes(b"no image")
    expected, names = predict.predict(EARLIER / "images", [str(tmp_path / "photo.png")])
    with chromium.page() as page:
        for width in (480, 1200):
            page.open(f"{server}/", width)
            page.choose("#file", tmp_path / "photo.png")
            page.wait("!document.getElementById('result').hidden")
            shown = page.run("document.querySelector('#rows .name').textContent")
            assert shown == names[expected[0].argmax()]
            assert page.run("document.querySelector('#rows .value').textContent") == f"{expected[0].max():.3f}"
            assert page.run("document.getElementById('preview').naturalWidth") == 50
            assert page.run("document.documentElement.scrollWidth") <= width
        page.choose("#file", tmp_path / "none.png")
        assert "cannot read the image" in page.wait("document.getElementById('error').textContent")
        assert page.run("document.getElementById('result').hidden")


@needs_starlette
@needs_chromium
def test_the_page_of_texts_in_a_browser(tmp_path):
    expected, names = predict.predict(EARLIER / "texts", ["what a day"])
    with serving_process(EARLIER / "texts") as (_, address), chromium.page() as page:
        page.open(f"{address}/", 480)
        page.run("document.getElementById('send').click()")
        assert page.wait("document.getElementById('error').textContent") == "Give something to predict first."
        page.run("document.getElementById('text').value = 'what a day'")
        page.run("document.getElementById('send').click()")
        page.wait("!document.getElementById('result').hidden")
        assert page.run("document.querySelector('#rows .name').textContent") == names[expected[0].argmax()]
        assert page.run("document.documentElement.scrollWidth") <= 480
