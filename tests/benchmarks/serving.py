"""What a server of a run costs beside its model: python tests/benchmarks/serving.py FOLDER [--quick]

An EfficientNet-Lite0 of 96 pixels (with `--quick` a small ResNet of 32) is trained for two steps on the embedded images
of Fashion-MNIST, and served in a process of its own on this machine, beside the clients that ask it. First the model's
own time is measured in this process: of one image, from its file to the answer, and of an image in the largest batches.
Then 1, 8, 64 and 200 clients each send one image after the other, for some seconds, three times (seeds).

Prints for each number of clients the requests a second, the p50 and p99 of their times, the examples of a batch and
what was lost: any request that was not answered with the prediction of its image. The goals are that nothing is lost,
that one client waits no more than 10 ms longer than the model takes, and that 200 clients are served at least at 0.4 of
the rate of the model alone, though clients, server and model share the machine.

FOLDER keeps the run and the results, table.txt, results.json and serving.png; what is there is not measured again. The
whole takes about five minutes on two cores, `--quick` one.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SEEDS, CLIENTS = (0, 1, 2), (1, 8, 64, 200)
SLACK, SHARE = 0.010, 0.4  # seconds that a server may add; the share of the model's own rate that it must serve
LARGEST = 16  # examples of a batch


class Load(NamedTuple):
    """What a number of clients saw."""

    seconds: list[float]
    lost: int
    took: float


def train(folder: Path, quick: bool) -> Path:
    """The folder of the run that is served."""
    from jtransfer import config as configs
    from jtransfer import train as training

    config = configs.default()
    config.model.name = "resnet18" if quick else "efficientnet_lite0"
    config.model.fields = {"depths": (1, 1), "image_size": 32} if quick else {"image_size": 96}
    config.data.train, config.data.test = "train[:64]", "test[:16]"
    config.data.transform = f"resize({32 if quick else 96})"
    config.batch_size = 16
    config.phases = [configs.phase("finetune", steps=2)]
    run = folder / ("quick" if quick else "run")
    if not (run / "report.html").exists():
        with contextlib.redirect_stdout(io.StringIO()):
            training.run(config, run)
        (run / "report.html").touch()
    return run


def files(count: int) -> list[bytes]:
    """The contents of image files of 100 by 120 pixels."""
    from PIL import Image

    made = []
    for seed in range(count):
        content = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (25, 30, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(pixels).save(content, "JPEG")
        made.append(content.getvalue())
    return made


def alone(run: Path, images: list[bytes]) -> dict[str, float]:
    """Seconds of the model in this process: of one image, and of each image in the largest batches."""
    from jtransfer import runs
    from jtransfer.serving.engine import Engine
    from jtransfer.serving.model import Model
    from jtransfer.serving.sent import Sent

    engine = Engine(Model(runs.open(run)), LARGEST)
    engine.warm_up()

    def once(count: int) -> float:
        began = time.perf_counter()
        engine.compute([engine.prepare(Sent(images[i % len(images)])) for i in range(count)])
        return (time.perf_counter() - began) / count

    return {name: statistics.median(once(count) for _ in range(30)) for name, count in (("one", 1), ("each", LARGEST))}


def expected(run: Path, images: list[bytes], folder: Path) -> list[str]:
    """The class that `predict` gives each image."""
    from jtransfer import predict

    paths = [folder / f"{i}.jpg" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image)
    probs, names = predict.predict(run, [str(path) for path in paths])
    return [names[i] for i in probs.argmax(1)]


async def load(port: int, clients: int, seconds: float, images: list[bytes], classes: list[str], seed: int) -> Load:
    """What clients see who each send one image after the other."""
    times: list[float] = []
    lost, began = 0, time.perf_counter()

    async def client(number: int) -> None:
        nonlocal lost
        order = np.random.default_rng((seed, number)).integers(len(images), size=100_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for which in order:
            started = time.perf_counter()
            if started - began > seconds:
                break
            body = images[which]
            head = f"POST /predict?top_k=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in answer.lower().split("\r\n") if line.startswith("content-length:"))
            content = json.loads(await reader.readexactly(int(length.split(":")[1])))
            times.append(time.perf_counter() - started)
            lost += " 200 " not in answer or content["predictions"][0]["class"] != classes[which]
        writer.close()

    done = await asyncio.gather(*map(client, range(clients)), return_exceptions=True)
    lost += sum(isinstance(one, BaseException) for one in done)
    return Load(times, lost, time.perf_counter() - began)


@contextlib.contextmanager
def served(run: Path):
    """The port of a server of the run."""
    command = [sys.executable, "-m", "jtransfer.serve", str(run), "--port=0", f"--max_batch={LARGEST}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.terminate()


def batches(port: int) -> tuple[float, float]:
    """The number of examples and of batches that a server has computed."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    return float(lines["jtransfer_examples_total"]), float(lines["jtransfer_batch_size_count"])


def measure(run: Path, folder: Path, quick: bool) -> dict[str, Any]:
    """All numbers."""
    images = files(16)
    classes, found = expected(run, images, folder), {"model": alone(run, images), "rows": []}
    with served(run) as port:
        for clients in CLIENTS:
            for seed in SEEDS[: 1 if quick else None]:
                before = batches(port)
                seen = asyncio.run(load(port, clients, 4.0 if quick else 15.0, images, classes, seed))
                examples, count = (after - past for after, past in zip(batches(port), before, strict=True))
                p50, p99 = np.quantile(seen.seconds, [0.5, 0.99]).tolist()
                rate = len(seen.seconds) / seen.took
                row = {"clients": clients, "seed": seed, "rate": rate, "p50": p50, "p99": p99}
                found["rows"].append(
                    {**row, "batch": examples / count, "lost": seen.lost, "requests": len(seen.seconds)}
                )
    return found


def table(found: dict[str, Any]) -> list[str]:
    """The lines of the table, means over the seeds."""
    own = found["model"]
    lines = [
        f"the model alone: {1e3 * own['one']:.1f} ms for one image, {1 / own['each']:.0f} images a second in batches",
        "clients   requests/s      p50 ms      p99 ms   batch   lost of requests",
    ]
    for clients in CLIENTS:
        rows = [row for row in found["rows"] if row["clients"] == clients]
        rate, p50, p99, batch = (statistics.mean(row[name] for row in rows) for name in ("rate", "p50", "p99", "batch"))
        lost, requests = (sum(row[name] for row in rows) for name in ("lost", "requests"))
        numbers = f"{rate:13.1f} {1e3 * p50:11.1f} {1e3 * p99:11.1f} {batch:7.1f}"
        lines.append(f"{clients:7d}{numbers}   {lost} of {requests}")
    return lines


def goals(found: dict[str, Any]) -> dict[str, bool]:
    """Goal → whether it is met."""
    own, rows = found["model"], found["rows"]
    p50 = statistics.median(row["p50"] for row in rows if row["clients"] == 1)
    rate = statistics.mean(row["rate"] for row in rows if row["clients"] == CLIENTS[-1])
    return {
        "nothing is lost": not any(row["lost"] for row in rows),
        f"one client waits at most {1e3 * SLACK:.0f} ms longer than the model takes": p50 <= own["one"] + SLACK,
        f"{CLIENTS[-1]} clients are served at {SHARE} of the model's own rate": rate >= SHARE / own["each"],
    }


def plot(found: dict[str, Any], file: Path) -> None:
    """Draws the rate and the times by the number of clients."""
    from matplotlib.figure import Figure

    figure = Figure((8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, names in ((left, ("rate",)), (right, ("p50", "p99"))):
        for name in names:
            means = [statistics.mean(row[name] for row in found["rows"] if row["clients"] == n) for n in CLIENTS]
            axes.plot(CLIENTS, means, "o-", label=name)
        axes.set(xscale="log", xlabel="clients")
    left.axhline(1 / found["model"]["each"], ls=":", color="grey")
    left.set(ylabel="requests a second", ylim=(0, None))
    right.axhline(found["model"]["one"], ls=":", color="grey")
    right.set(ylabel="seconds", yscale="log")
    right.legend()
    figure.savefig(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    folder = given.folder / ("quick_results" if given.quick else "results")
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.json"
    if not results.exists():
        results.write_text(json.dumps(measure(train(given.folder, given.quick), folder, given.quick), indent=1))
    found = json.loads(results.read_text())
    lines = table(found)
    (folder / "table.txt").write_text("\n".join([*lines, ""]))
    plot(found, folder / "serving.png")
    print("\n".join(lines))
    met = goals(found)
    for goal, is_met in met.items():
        print(f"goal: {goal}: {'met' if is_met else 'missed'}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
