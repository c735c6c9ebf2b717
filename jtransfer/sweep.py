"""Tunes fields of a config: python -m jtransfer.sweep --config=FILE --vary="optim.lr=log(1e-5,1e-2)" --trials=20

Each trial is a run, whose values Optuna's TPE sampler draws; a trial that is worse than the median of those before it
at the same step is stopped. They are compared on the validation split or, where the config names none, on a part of the
training split. Then the best values are trained with, in WORKDIR/winner_…, and that run alone looks at the test split;
its config is WORKDIR/winner.py. Needs Optuna: pip install 'jtransfer[sweep]'.

--config=FILE[:ARGUMENT]  a config file, as for jtransfer.main
--config.FIELD=VALUE      a field in place of the file's
--vary=FIELD=SPACE        log(a,b), uniform(a,b), int(a,b) or choice(a,b,…); once for each field, as
                          --vary="phases[0].optim.lr=log(1e-4,1e-2)" --vary="adapters.rank=choice(4,8)"
--trials=N                how many; by default 20. More of them later go on from those that are there
--workdir=DIR             the folder; by default a new one in runs/. The same command again goes on where it was.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from collections.abc import Sequence
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
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.tuning.sweeping import Sweep


def sweep(config: Any, folder: str, vary: Sequence[str], trials: int = 20) -> "Sweep":
    """Tries values of a config's fields, and trains with the best ones; see `tuning.sweeping.sweep`."""
    from jtransfer.tuning import sweeping

    return sweeping.sweep(config, folder, vary, trials)


def main(argv: list[str]) -> None:
    """Sweeps for a command line."""
    values = flags.FlagValues()
    given = flags.DEFINE_string("config", "", "config file", flag_values=values)
    vary = flags.DEFINE_multi_string("vary", [], "what is varied", flag_values=values)
    trials = flags.DEFINE_integer("trials", 20, "how many", flag_values=values)
    workdir = flags.DEFINE_string("workdir", "", "the folder", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if rest or not given.value:
        raise InputError('give a config: python -m jtransfer.sweep --config=FILE --vary="optim.lr=log(1e-5,1e-2)"')
    from jtransfer.reporting import page
    from jtransfer.runs import config_file

    config = config_file.load(given.value, overrides)
    set_up_compiler()
    folder = workdir.value or new_workdir()
    say(f"workdir: {folder}")
    with stopping.on_signals(), ending_where_stopped():
        found = sweep(config, folder, vary.value, trials.value)
    say("\n".join(found.lines))
    say("test: " + "  ".join(f"{name} {value:.4f}" for name, value in found.test.items()))
    say(f"report: {page.write(found.folder)}")


if __name__ == "__main__":
    stopping.take()
    with cluster.leaving():
        run_command(main)
