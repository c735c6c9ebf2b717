"""Trackers: where the numbers of a run are sent beside `metrics.jsonl`, such as TensorBoard and Weights & Biases.

A tracker is a function `make(run, **fields)`, which is given a `Tracked` and returns a `Tracker`, or just the function
that takes the numbers, `write(step, scalars)`. It is one file, and one entry in `TRACKERS`; a user's is an address. All
trackers are given the same names, `train/loss` or `test/accuracy`, at the same steps.
"""

from jtransfer.tracking.registry import TRACKERS, check, entries
from jtransfer.tracking.tracker import Tracked, Tracker
from jtransfer.tracking.trackers import Trackers

__all__ = ["TRACKERS", "Tracked", "Tracker", "Trackers", "check", "entries"]
