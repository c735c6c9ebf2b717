"""Random-access sources, transforms written as text, and batches that are a pure function of (seed, step)."""

from jtransfer.data.loader import eval_batches, train_batches
from jtransfer.data.mixing import cutmix, mixup
from jtransfer.data.sampling import class_weights, num_steps
from jtransfer.data.source import Source, spread
from jtransfer.data.sources import open
from jtransfer.data.transforms import Pipeline, parse

__all__ = [
    "Pipeline",
    "Source",
    "class_weights",
    "cutmix",
    "eval_batches",
    "mixup",
    "num_steps",
    "open",
    "parse",
    "spread",
    "train_batches",
]
