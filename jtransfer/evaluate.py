"""Evaluates: python -m jtransfer.evaluate RUN [--step=STEP|best|last] [--data=NAME] [--split=SPLIT]
    [--tta=VIEWS] [--out=FILE.json]

Prints the metrics of a run's task, and of its config.metrics, over every example of a split once. Nothing is written
into the run's folder.

--step=STEP   a step that was kept, best (by the validation split) or last; else the run's model, the best unless
              config.model_selection says otherwise
--data=NAME   another data set, written as in config.data.name: a TFDS name, folder:/path, csv:/path, …; it is read with
              the other fields of the run's config.data. Its classes go by their names; some may be missing
--data.FIELD=VALUE  a field of config.data in place of the run's, such as --data.label_key=species
--split=SPLIT train, validation or test of the run's own data as its config has them; or an expression such as
              test[:500], or all; by default test
--tta=VIEWS   views of each image whose outputs are averaged: flip_lr, flip_ud, rot90, five_crop, random(8), or several
              joined by "|", as 'five_crop|flip_lr'; the metrics are printed without them and with them
--out=FILE    a JSON file for the same
--distributed this is one process of a cluster's (TPU pod, Slurm, …), which see a part of the examples each
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core import cluster as clusters
from jtransfer.core.command import parse_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.runs.measure import Measured


def evaluate(
    folder: str | os.PathLike,
    step: int | str | None = None,
    *,
    data: str = "",
    split: str = "test",
    tta: str = "",
    **fields: Any,
) -> "Measured":
    """Returns the metrics of a run's model on a split of any data.

    Args:
      folder: of a run.
      step: a step that was kept, "best", "last", or None for the run's model.
      data: a data set, written as in `config.data.name`; "" is the run's own.
      split: of the run's own data, "train", "validation" or "test" as its config has them; otherwise an expression.
      tta: views of each image whose outputs are averaged, such as "flip_lr"; "" for none.
      **fields: fields of `config.data` in place of the run's, such as `label_key="species"`.

    Returns:
      A tuple with `metrics`, name → value, the `step`, `data`, `split` and number of `examples` that they are of, and
      `protocol`, what chose the step; with `tta`, `averaged` has the metrics of the averages.

    Raises:
      InputError: there is no such run, step, data set, split or field, or its classes are not the run's.
    """
    from jtransfer import runs
    from jtransfer.runs import measure

    return measure.measure(measure.with_data(runs.open(folder), fields), step, data=data, split=split, tta=tta)


def main(argv: list[str]) -> None:
    """Prints the metrics for a command line."""
    values = flags.FlagValues()
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last; else the model", flag_values=values)
    data = flags.DEFINE_string("data", "", "another data set", flag_values=values)
    split = flags.DEFINE_string("split", "test", "a split by name, or an expression", flag_values=values)
    tta = flags.DEFINE_string("tta", "", "views whose outputs are averaged", flag_values=values)
    out = flags.DEFINE_string("out", "", "a JSON file", flag_values=values)
    cluster = flags.DEFINE_boolean("distributed", False, "one of several processes of a cluster", flag_values=values)
    overrides = [arg for arg in argv[1:] if arg.startswith("--data.")]
    rest = parse_flags(values, [arg for arg in argv if arg not in overrides])
    if len(rest) != 1:
        raise InputError("give the folder of one run: python -m jtransfer.evaluate RUN [--step=best] [--split=test]")
    if out.value and not Path(out.value).resolve().parent.is_dir():
        raise InputError(f"--out={out.value}: there is no such folder")
    if cluster.value:
        clusters.join({})
    set_up_compiler()
    asked = {"data": data.value, "split": split.value, "tta": tta.value, **_fields(rest[0], overrides)}
    found = evaluate(rest[0], step_of(step.value), **asked)
    if not _is_first():
        return
    say(f"{rest[0]}, step {found.step}, on {found.data}, {found.split}: {found.examples} examples")
    if found.protocol:
        say(f"the model is {found.protocol}")
    width = max(map(len, found.metrics))
    if found.tta:
        say(f"without and with the average over the views of {found.tta}")
    for name, value in found.metrics.items():
        averaged = f"  {found.averaged[name]:.4f}" if found.tta else ""
        say(f"  {name:<{width}}  {value:.4f}{averaged}")
    if out.value:
        Path(out.value).write_text(
            json.dumps({"run": rest[0], **found._asdict(), "averaged": dict(found.averaged)}, indent=2) + "\n"
        )


def _fields(folder: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The fields of `config.data` that a command line gives, each of the type that the run's own has."""
    from jtransfer import runs
    from jtransfer.runs import config_file

    return config_file.data_fields(runs.open(folder).config, overrides) if overrides else {}


def _is_first() -> bool:
    import jax

    return jax.process_index() == 0


if __name__ == "__main__":
    with clusters.leaving():
        run_command(main)
