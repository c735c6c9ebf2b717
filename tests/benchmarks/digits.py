"""MNIST → scikit-learn's digits, 8×8 pixels in 16 greys: the table of mnist_m.py on a target of 1,797 images.

    TFDS_DATA_DIR=… python tests/benchmarks/digits.py FOLDER [--quick]

The target's first 1,200 images are trained on, the rest is tested on. Rows and protocol are those of
domain_rows.py. The goal is that DANN closes a fifth of the gap between the source only and the target's labels, for
images of 8×8 pixels that are made larger are blurred as no digit of the source is. FOLDER keeps the results: what
is there is not run again.
"""

import sys
from pathlib import Path

import domain_rows

from jtransfer import data

TRAIN = 1200
TABLE = domain_rows.Table(
    "MNIST → digits", str(Path(__file__).resolve()), steps=1000, quick=400, goal=0.2, quick_goal=0.1
)


def source(spec):
    """The first 10,000 digits of MNIST."""
    mnist = {**spec, "name": "mnist", "modality": "image"}
    return {"train": data.open(mnist, "train[:10000]"), "test": data.open(mnist, "test[:2000]")}


def target(spec):
    """Scikit-learn's digits in two parts."""
    every = data.open({**spec, "name": "sklearn:digits", "modality": "image"}, "all")
    parts = {"train": range(TRAIN), "test": range(TRAIN, len(every))}
    return {split: domain_rows.chosen(every, numbers) for split, numbers in parts.items()}


def only(spec):
    """The source to train on, and the target to test on."""
    return {"train": source(spec)["train"], "test": target(spec)["test"]}


if __name__ == "__main__":
    sys.exit(domain_rows.main(TABLE, __doc__))
