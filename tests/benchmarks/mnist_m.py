"""MNIST → MNIST-M: what adaptation recovers of the gap that coloured backgrounds make.

    TFDS_DATA_DIR=… python tests/benchmarks/mnist_m.py FOLDER [--quick]

MNIST-M is made as Ganin et al. 2016 (arXiv:1505.07818) made it, |patch − digit|, with patches of scikit-learn's two
photographs in place of BSDS500, and with other digits than the source's; the number of an example draws its patch.
Rows: trained on the source only, AdaBN, CORAL, MK-MMD, DANN, CDAN+E, MCC, and trained on the target's labels; three
seeds, mean ± standard deviation. The protocol is that of domain_rows.py. The goal is that DANN closes half of the gap
(the paper: 52.3 → 76.7 of 95.9). FOLDER keeps the results: what is there is not run again.
"""

import functools
import sys
from pathlib import Path

import domain_rows
import numpy as np
from sklearn.datasets import load_sample_images

from jtransfer import data

SIDE, TRAIN = 28, 10_000
TABLE = domain_rows.Table(
    "MNIST → MNIST-M", str(Path(__file__).resolve()), steps=2000, quick=800, goal=0.5, quick_goal=0.1
)


def source(spec):
    """The first 10,000 digits of MNIST."""
    return {"train": _mnist(spec, f"train[:{TRAIN}]"), "test": _mnist(spec, "test[:2000]")}


def target(spec):
    """MNIST-M, of the next 10,000 digits, and of 5,000 of the test split."""
    train = _blended(_mnist(spec, f"train[{TRAIN}:{2 * TRAIN}]"), 0)
    return {"train": train, "test": _blended(_mnist(spec, "test[:5000]"), 10**6)}


def only(spec):
    """The source to train on, and the target to test on."""
    return {"train": source(spec)["train"], "test": target(spec)["test"]}


def blended(digit: np.ndarray, number: int) -> np.ndarray:
    """A digit [28, 28, …] over a patch of a photograph, uint8 [28, 28, 3]; the patch is drawn by a number."""
    rng = np.random.default_rng((7, number))
    photographs = _photographs()
    photograph = photographs[rng.integers(len(photographs))]
    top, left = (rng.integers(side - SIDE + 1) for side in photograph.shape[:2])
    patch = photograph[top : top + SIDE, left : left + SIDE].astype(np.int16)
    return np.abs(patch - digit[..., :1].astype(np.int16)).astype(np.uint8)


@functools.cache
def _photographs():
    return load_sample_images().images


def _mnist(spec, split):
    return data.open({**spec, "name": "mnist", "modality": "image"}, split)


def _blended(digits, first):
    def read(i):
        example = digits[i]
        return {**example, "image": blended(example["image"], first + i)}

    return data.Source(len(digits), read, digits.class_names, digits.read_labels)


if __name__ == "__main__":
    sys.exit(domain_rows.main(TABLE, __doc__))
