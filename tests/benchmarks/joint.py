"""Joint training against the target alone and against source, then target: python -m tests.benchmarks.joint [--quick]

Ten labels a class of the target (scikit-learn's 8×8 digits; Fashion-MNIST) and all of MNIST as the source, by
configs/joint.py with `TFDS_DATA_DIR` set. Prints the target's accuracy over three seeds, mean ± standard deviation.
The goals are that joint training and the transfer help where the classes are the same; --quick is digits alone, in
less than 5 minutes on 2 cores.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
from pathlib import Path

from jtransfer import train
from jtransfer.runs import config_file

ROOT = Path(__file__).parents[2]
SEEDS = (0, 1, 2)


def accuracy(folder: Path, seed: int, **given) -> float:
    """The accuracy on the test split of a run by configs/joint.py."""
    argument = ",".join(f"{name}={value}" for name, value in given.items())
    config = config_file.load(f"{ROOT}/configs/joint.py:{argument}", [f"--config.seed={seed}"])
    with contextlib.redirect_stdout(io.StringIO()):
        return train.run(config, folder)["accuracy"]


def compare(target: str, steps: int, folder: Path) -> dict[str, list[float]]:
    """Accuracies of each way, one for each seed."""
    found: dict[str, list[float]] = {"target alone": [], "source, then target": [], "joint": []}
    for seed in SEEDS:
        source = folder / f"source_{seed}"
        if not source.exists():
            accuracy(source, seed, how="source", steps=steps)
        found["target alone"].append(
            accuracy(folder / f"{target}_{seed}", seed, how="target", target=target, steps=steps)
        )
        after = accuracy(folder / f"{target}_after_{seed}", seed, how="target", target=target, steps=steps, init=source)
        found["source, then target"].append(after)
        found["joint"].append(
            accuracy(folder / f"{target}_joint_{seed}", seed, how="joint", target=target, steps=steps)
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for target in ("digits",) if quick else ("digits", "fashion"):
            found = compare(target, 100 if quick else 300, Path(folder))
            print(f"target: {target}, ten labels a class; source: MNIST; accuracy on the target's test split")
            for way, values in found.items():
                print(f"  {way:20s} {statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}   {values}")
            means = {way: statistics.mean(values) for way, values in found.items()}
            if target == "digits":
                missed += [way for way in ("source, then target", "joint") if means[way] <= means["target alone"]]
    print(
        "goals: on digits, joint and source, then target, above target alone: "
        + (f"missed by {missed}" if missed else "met")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
