"""Chooses how to use pretrained weights: python -m jtransfer.advise --config=FILE [--budget=10m] [--workdir=DIR]

Tries the head alone, low-rank adapters, the last stages, everything, and no transfer at all, each at a few rates, in
short runs of which the better ones go on. They are compared on the validation split or, where there is none, on a part
of the training split; the test split is not looked at. Writes WORKDIR/auto/winner.py, which runs alone with --config,
and says why.

--config=FILE[:ARGUMENT]  a config file, as for jtransfer.main; `init` names the weights, and its phases do not matter
--config.FIELD=VALUE      a field in place of the file's: --config.auto.candidates="('probe', 'finetune@3e-4')"
--budget=BUDGET           10m, 90s, 2h, "600 steps" or "20000 examples"; by default config.auto.budget
--workdir=DIR             the folder; by default a new one in runs/. The same command again goes on where it was.
--what=lr                 tries rates instead: a learning rate range test (Smith 2017) of the config's first phase, from
                          where the run in WORKDIR is, if there is one, which it leaves as it is
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core import cluster, stopping
from jtransfer.core.command import (
    ending_where_stopped,
    new_workdir,
    parse_config_flags,
    run_command,
    set_up_compiler,
)
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.tuning.advice import Advice
    from jtransfer.tuning.range_test import RangeTest


def advise(config: Any, folder: str, budget: str = "") -> "Advice":
    """Returns how pretrained weights are best used for a config's data; see `tuning.advice.advise`."""
    from jtransfer.tuning import advice

    return advice.advise(config, folder, budget)


def range_test(config: Any, folder: str) -> "RangeTest":
    """Returns a learning rate for a config's first phase; see `tuning.range_test.of_config`."""
    from jtransfer.tuning import range_test

    return range_test.of_config(config, folder)


def main(argv: list[str]) -> None:
    """Chooses for a command line."""
    values = flags.FlagValues()
    given = flags.DEFINE_string("config", "", "config file", flag_values=values)
    budget = flags.DEFINE_string("budget", "", "of the choice", flag_values=values)
    what = flags.DEFINE_string("what", "strategy", "strategy or lr", flag_values=values)
    workdir = flags.DEFINE_string("workdir", "", "the folder", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if rest or not given.value:
        raise InputError("give a config: python -m jtransfer.advise --config=configs/quickstart.py --budget=10m")
    if what.value not in ("strategy", "lr"):
        raise unknown("--what", what.value, ("strategy", "lr"))
    if what.value == "lr" and budget.value:
        raise InputError("--budget is of a strategy; a range test has 100 steps, or as many as the phase")
    from jtransfer.runs import config_file

    config = config_file.load(given.value, overrides)
    set_up_compiler()
    folder = workdir.value or new_workdir()
    say(f"workdir: {folder}")
    with stopping.on_signals(), ending_where_stopped():
        say(_range_test(config, folder) if what.value == "lr" else _strategy(config, folder, budget.value))


def _strategy(config: Any, folder: str, budget: str) -> str:
    found = advise(config, folder, budget)
    return "\n".join([*found.lines, f"the config: {found.file}"])


def _range_test(config: Any, folder: str) -> str:
    return "\n".join(range_test(config, folder).lines)


if __name__ == "__main__":
    stopping.take()
    with cluster.leaving():
        run_command(main)
