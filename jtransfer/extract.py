"""Extracts features: python -m jtransfer.extract RUN|SOURCE --to=FILE.npz|FILE.parquet [--config=FILE] [--stage=STAGE]

Writes what a model gives before its head, or after a stage, for every example of some splits once: float32 [N, d], with
the labels and the names of the classes. The file is a data set of vectors, on which a run trains with
--config=configs/vectors.py:data=npz:FILE.npz,train=train,test=test, and which any other library reads.

RUN             the folder of a run: its model, on its own data
SOURCE          any weights, as in config.init: the model that they are of, on the data of --config
--to=FILE       .npz has features_train, labels_train and index_train for each split, and class_names; .parquet the
                columns f0, f1, … and label, and of several splits one file each: --to='DIR/{split}.parquet'
--config=FILE   a config file, as for jtransfer.main, of data and model; a run begins there as config.init
--config.FIELD=VALUE  a field in place of the file's
--stage=STAGE   the stage whose output is taken; by default that before the head
--split=SPLITS  names of splits of the config, train,test, or one expression such as test[:500]; by default all
--step=STEP     of a run without --config: a step that was kept, best or last; else its model
--distributed   this is one process of a cluster's (TPU pod, Slurm, …)
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core import cluster as clusters
from jtransfer.core.command import parse_config_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.runs.extraction import Table


def extract(
    source: str | os.PathLike = "",
    *,
    config: Any = None,
    stage: str = "",
    splits: Sequence[str] = (),
    step: int | str | None = None,
) -> "dict[str, Table]":
    """Returns the features of splits, split → a tuple of `features` float32 [N, d], `labels`, `index`, `class_names`.

    Args:
      source: The folder of a run, or weights; "" is what the config begins with.
      config: The config of data and model; None takes a run's own.
      stage: The stage whose output they are; "" is what the head is given.
      splits: Names of splits of the config, or one expression; none are all.
      step: Of a run that is given without a config, as `runs.open` takes it.

    Raises:
      InputError: There is no such run, step, stage or split, or what the stage gives is no vector.
    """
    from jtransfer.runs import extraction

    return extraction.extract(extraction.trunk(source, config, step), list(splits), stage)


def main(argv: list[str]) -> None:
    """Writes the features for a command line."""
    values = flags.FlagValues()
    to = flags.DEFINE_string("to", "", "a file", flag_values=values)
    config = flags.DEFINE_string("config", "", "a config file", flag_values=values)
    stage = flags.DEFINE_string("stage", "", "the stage whose output is taken", flag_values=values)
    split = flags.DEFINE_string("split", "", "splits", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last", flag_values=values)
    cluster = flags.DEFINE_boolean("distributed", False, "one of several processes of a cluster", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if len(rest) > 1 or not (rest or config.value) or not to.value:
        raise InputError("give a run or weights, and a file: python -m jtransfer.extract RUN --to=features.npz")
    if overrides and not config.value:
        raise InputError(f"{overrides[0]} changes a config; give --config=FILE")
    from jtransfer.runs import config_file, extraction, features_file

    splits = extraction.splits_of(split.value)
    features_file.check_file(to.value, splits)
    if cluster.value:
        clusters.join({})
    set_up_compiler()
    chosen = config_file.load(config.value, overrides) if config.value else None
    asked = {"config": chosen, "stage": stage.value, "splits": splits, "step": step_of(step.value)}
    tables = extract(rest[0] if rest else "", **asked)
    files = features_file.write(tables, to.value)
    counts = ", ".join(f"{name} {len(table.features)} × {table.features.shape[1]}" for name, table in tables.items())
    if _is_first():
        say(f"{', '.join(files)}: {counts}")


def _is_first() -> bool:
    import jax

    return jax.process_index() == 0


if __name__ == "__main__":
    with clusters.leaving():
        run_command(main)
