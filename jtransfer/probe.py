"""Probes: python -m jtransfer.probe RUN|SOURCE [--config=FILE] [--how=ridge|logistic|knn] [--stages=all|A,B]

Tells which stage's features are best for the classes of some data: a probe is fitted to what each stage gives, pooled
to one vector an example, all of one pass of the model. The validation split, or a fifth of the training split where the
config has none, chooses the probe's setting and the stage; the test split is read once, by what was chosen.

RUN             the folder of a run: its model, on its own data
SOURCE          any weights, as in config.init: the model that they are of, on the data of --config
--config=FILE   a config file, as for jtransfer.main, of data and model; a run begins there as config.init
--config.FIELD=VALUE  a field in place of the file's
--how=HOW       ridge regression over strengths of the penalty, logistic regression, or knn over numbers of neighbours
--stages=STAGES names of stages, or all before the head
--out=FILE      a JSON file for the same
--step=STEP     of a run without --config: a step that was kept, best or last; else its model
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
from jtransfer.core.command import cache_compilations, parse_config_flags, run_command, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.core.text_table import lay_out

if TYPE_CHECKING:
    from jtransfer.runs.probing import Curve


def probe(
    source: str | os.PathLike = "",
    *,
    config: Any = None,
    how: str = "ridge",
    stages: Sequence[str] = (),
    step: int | str | None = None,
) -> "Curve":
    """Returns how well a probe of each stage of a model does.

    Args:
      source: The folder of a run, or weights; "" is what the config begins with.
      config: The config of data and model; None takes a run's own.
      how: "ridge", "logistic" or "knn".
      stages: Names of stages; none are all before the head.
      step: Of a run that is given without a config, as `runs.open` takes it.

    Raises:
      InputError: There is no such run, step, stage or probe, or the examples have no class each.
    """
    from jtransfer.runs import extraction, probing

    return probing.curve(extraction.trunk(source, config, step), stages, how)


def main(argv: list[str]) -> None:
    """Prints the curve for a command line."""
    values = flags.FlagValues()
    config = flags.DEFINE_string("config", "", "a config file", flag_values=values)
    how = flags.DEFINE_string("how", "ridge", "ridge, logistic or knn", flag_values=values)
    stages = flags.DEFINE_string("stages", "all", "names of stages, or all", flag_values=values)
    out = flags.DEFINE_string("out", "", "a JSON file", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if len(rest) > 1 or not (rest or config.value):
        raise InputError("give a run or weights: python -m jtransfer.probe RUN [--how=ridge] [--stages=all]")
    if overrides and not config.value:
        raise InputError(f"{overrides[0]} changes a config; give --config=FILE")
    if out.value and not Path(out.value).resolve().parent.is_dir():
        raise InputError(f"--out={out.value}: there is no such folder")
    from jtransfer.runs import config_file

    cache_compilations()
    chosen = config_file.load(config.value, overrides) if config.value else None
    names = [] if stages.value == "all" else [name.strip() for name in stages.value.split(",") if name.strip()]
    found = probe(rest[0] if rest else "", config=chosen, how=how.value, stages=names, step=step_of(step.value))
    _tell(found)
    if out.value:
        told = {**found._asdict(), "points": [point._asdict() for point in found.points]}
        Path(out.value).write_text(json.dumps(told, indent=2) + "\n")


def _tell(found: "Curve") -> None:
    rows = [("stage", "features", "setting", "accuracy", "95 %")]
    for point in found.points:
        low, high = point.interval
        rows.append((point.stage, str(point.width), point.setting, f"{point.accuracy:.4f}", f"{low:.4f}–{high:.4f}"))
    say("\n".join(lay_out(rows, "<><>>")))
    say(f"{found.how} is best on {found.best}, {found.protocol}")
    if found.test:
        low, high = found.test["interval"]
        said = f"{found.test['accuracy']:.4f} ({low:.4f}–{high:.4f})"
        say(f"on the test split, read by it alone: {said} of {found.test['examples']} examples")


if __name__ == "__main__":
    with clusters.leaving():
        run_command(main)
