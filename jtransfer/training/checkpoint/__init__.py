"""Checkpoints of a run: asynchronous, whole or not there, checked when they are read, and without the frozen part.

    workdir/base/<phase>/          what is frozen in the phase, written once at its start, but for what the run's init
                                   gives, if the config says so
    workdir/checkpoints/<step>/    what changes: state (step, rng, trainable, model_state, ema) and optimizer

The last checkpoints are kept, for each of them the best by then, and what `Keep` asks for beside. Each states the
checksums of all that it holds, and whoever reads one checks them: what is damaged is passed over, with a line that says
so, for the next one that is whole. A run may be read while it goes on; readers write nothing.
"""

from jtransfer.training.checkpoint.base import from_init, write_base
from jtransfer.training.checkpoint.choosing import attempt, best, position, resolve, scored, steps
from jtransfer.training.checkpoint.damage import Damaged
from jtransfer.training.checkpoint.reading import lazy_params, load, load_params, tensors
from jtransfer.training.checkpoint.restoring import Resumed, restore, resume
from jtransfer.training.checkpoint.saving import Checkpoints, Keep, open_checkpoints, save
from jtransfer.training.checkpoint.whole import write_whole

__all__ = [
    "Checkpoints",
    "Damaged",
    "Keep",
    "Resumed",
    "attempt",
    "best",
    "from_init",
    "lazy_params",
    "load",
    "load_params",
    "open_checkpoints",
    "position",
    "resolve",
    "restore",
    "resume",
    "save",
    "scored",
    "steps",
    "tensors",
    "write_base",
    "write_whole",
]
