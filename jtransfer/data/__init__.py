"""Random-access sources, and batches of them that are a pure function of (seed, step)."""

from jtransfer.data.loader import batch_of, eval_batches, train_batches
from jtransfer.data.sampling import class_weights, num_steps
from jtransfer.data.source import Source, subsample
from jtransfer.data.sources import open

__all__ = ["Source", "batch_of", "class_weights", "eval_batches", "num_steps", "open", "subsample", "train_batches"]
