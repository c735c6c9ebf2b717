"""The rows of a table of domain adaptation, which mnist_m.py and digits.py share: configs, runs, table and plot.

Protocol: no label of the target is looked at in training or to choose a step; what is evaluated is the last step. The
settings were fixed beforehand with seed 0 of MNIST-M, where the target's labels were looked at for DANN's (a
discriminator of two hidden layers of 256 in place of one of 100: .9026 against .8020); so the table has other seeds.
All rows have the same model, optimizer and number of steps and of examples of each domain. In rows with both domains
each has batch norm statistics of its own. "target" alone is trained on the target's labels: the most that can be
reached.
"""

import argparse
import contextlib
import io
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from jtransfer import config as configs
from jtransfer import data, train
from jtransfer.core.command import set_up_compiler

ONLY, TARGET, QUICK = "source only", "target", ("source only", "AdaBN", "DANN", "target")
SEEDS = (1, 2, 3)
TERMS: dict[str, tuple[str, dict[str, Any]]] = {
    "CORAL": ("coral", {"weight": 10.0, "at": "hidden"}),
    "MK-MMD": ("mmd", {"weight": 1.0, "at": "hidden"}),
    "DANN": ("dann", {"widths": (256, 256), "at": "features"}),
    "CDAN": ("cdan", {"widths": (256, 256), "at": "hidden"}),
    "MCC": ("mcc", {"weight": 1.0}),
}
ROWS = (ONLY, "AdaBN", *TERMS, TARGET)


class Table(NamedTuple):
    """What a benchmark compares.

    Attributes:
      title: of the table.
      file: the file with the data sets `source`, `target`, and `only`, which has the training examples of the source
        and the test examples of the target.
      steps, quick: of each run, and of each with `--quick`.
      goal, quick_goal: the parts of the gap between "source only" and "target" that DANN is to close.
    """

    title: str
    file: str
    steps: int
    quick: int
    goal: float
    quick_goal: float


class LeNet(nn.Module):
    """Two convolutions with batch norm, and a hidden layer."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, x, train=False):
        x = Features(name="features")(x, train)
        x = nn.relu(nn.Dense(100, name="hidden")(x))
        return nn.Dense(self.num_classes, name="head")(x)


class Features(nn.Module):
    """Convolutions, [B, H, W, C] → [B, d]."""

    @nn.compact
    def __call__(self, x, train):
        for i, width in enumerate((16, 32)):
            x = nn.Conv(width, (5, 5), padding="VALID", use_bias=False, name=f"conv{i + 1}")(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.95, name=f"norm{i + 1}")(x)
            x = nn.relu(nn.max_pool(x, (2, 2), (2, 2)))
        return x.reshape(len(x), -1)


def config_of(table: Table, row: str, seed: int, steps: int, source: Path) -> Any:
    """The config of one run; `source` is the folder of the run "source only"."""
    config = configs.default()
    config.seed = seed
    config.modality = "image"
    config.model.name = f"{Path(__file__).resolve()}:LeNet"
    config.data.update({"name": f"{table.file}:{'only' if row == ONLY else 'target'}", "channels": 3})
    config.data.transform = "resize(28)|normalize((0.5, 0.5))"
    config.batch_size = 32
    config.optim.lr = 2e-3
    config.phases = [configs.phase("train", trainable=".*", steps=steps)]
    if row == "AdaBN":
        config.init = str(source)
        config.phases = [configs.phase("adapt", trainable=".*", statistics="target")]
    if row in TERMS:
        config.batch_size = 64
        config.streams.source = {"data": {"name": f"{table.file}:source"}, "share": 0.5, "norms": "statistics"}
        config.objective = [("task", {"on": ["source"]}), TERMS[row]]
    config.eval_batch_size = 200
    config.log_every, config.eval_every, config.checkpoint_every = 100, 10**6, 10**6
    config.model_selection = "last"
    return config


def chosen(source: data.Source, numbers: Sequence[int]) -> data.Source:
    """The examples of a source with these numbers."""
    labels = source.labels
    return data.Source(
        len(numbers),
        lambda i: source[numbers[i]],
        source.class_names,
        lambda start, stop: labels[numbers[start:stop]],
    )


def result(table: Table, folder: Path, row: str, seed: int, steps: int) -> dict[str, float]:
    """Accuracy on the target's test split and time of a row with a seed, from the folder if they are there."""
    kept, source = folder / f"{row.replace(' ', '-')}-{steps}-{seed}.json", folder / f"source-{steps}-{seed}"
    if not kept.exists():
        place = source if row == ONLY else folder / "run"
        if row != "AdaBN" or source.exists():
            shutil.rmtree(place, ignore_errors=True)
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = train.run(config_of(table, row, seed, steps, source), place)["accuracy"]
        kept.write_text(json.dumps({"accuracy": float(found), "seconds": round(time.monotonic() - began)}))
    return json.loads(kept.read_text())


def closed(means: dict[str, float], row: str) -> float:
    """The part of the gap between "source only" and "target" that a row closes."""
    return (means[row] - means[ONLY]) / (means[TARGET] - means[ONLY])


def plot(table: Table, found: dict[str, list[float]], path: Path) -> None:
    """A bar for each row, with the range of its seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    means = [statistics.mean(values) for values in found.values()]
    spans = [[m - min(v) for m, v in zip(means, found.values(), strict=True)]]
    spans.append([max(v) - m for m, v in zip(means, found.values(), strict=True)])
    axes.barh(list(found), means, xerr=spans, color="#7a9cc6")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="accuracy on the target's test split", title=table.title)
    figure.savefig(path)


def main(table: Table, doc: str) -> int:
    """Runs what is missing, and prints, writes and plots the table; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="", help="these alone, without a goal")
    parser.add_argument("--seeds", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    rows = given.rows.split(",") if given.rows else QUICK if given.quick else ROWS
    seeds = list(map(int, given.seeds.split(","))) if given.seeds else SEEDS[: 1 if given.quick else None]
    steps, goal = (table.quick, table.quick_goal) if given.quick else (table.steps, table.goal)
    set_up_compiler()
    given.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{table.title}, {steps} steps, seeds {', '.join(map(str, seeds))}; last step, no label of the target"]
    found: dict[str, list[float]] = {}
    print(lines[0], flush=True)
    for row in rows:
        results = [result(table, given.folder, row, seed, steps) for seed in seeds]
        found[row] = [one["accuracy"] for one in results]
        spread = statistics.stdev(found[row]) if len(seeds) > 1 else 0.0
        seconds = statistics.mean(one["seconds"] for one in results)
        lines.append(f"{row:<12} {statistics.mean(found[row]):.4f} ± {spread:.4f}  {seconds:5.0f} s")
        print(lines[-1], flush=True)
    means = {row: statistics.mean(values) for row, values in found.items()}
    if given.rows:
        return 0
    share = closed(means, "DANN")
    lines += [f"{row} closes {closed(means, row):.0%} of the gap" for row in rows if row not in (ONLY, TARGET)]
    lines.append(f"goal: DANN closes {goal:.0%} of the gap: {'met' if share >= goal else 'missed'}")
    print("\n".join(lines[len(rows) + 1 :]))
    (given.folder / "table.txt").write_text("\n".join(lines) + "\n")
    summary = {"steps": steps, "seeds": list(seeds), "accuracy": found, "closed": share, "goal": goal}
    (given.folder / "table.json").write_text(json.dumps(summary, indent=2) + "\n")
    with contextlib.suppress(ImportError):
        plot(table, found, given.folder / "table.svg")
    return 0 if share >= goal else 1
