"""Did the transfer help? python -m jtransfer.verdict RUN [--scratch=1] [--trivial=0.1]

Compares a run that has ended with baselines, on the same examples of its test split, and says for each, with an
interval, that the run's model is better (helped) or worse (hurt), or that no difference is shown. The run's report then
has it. No number of the run changes, and what was compared another time is not done again.

--scratch=SHARE  the same model from scratch, everything trained, with this share of the run's steps; 1 is the same
                 budget and costs as much as the run; by default as the run's config.verdict.scratch has it, usually 0
--trivial=SHARE  what is most frequent, and a linear model of pixels, words or numbers, if they take no more than this
                 share of the run's time, or ten seconds; 0 is none; by default as the run's config has it
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
from typing import TYPE_CHECKING

from absl import flags

from jtransfer.core import stopping
from jtransfer.core.command import ending_where_stopped, parse_flags, run_command, set_up_compiler
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.runs.verdicts import Verdict


def judge(folder: str | os.PathLike, *, scratch: float | None = None, trivial: float | None = None) -> "Verdict | None":
    """Compares a run that has ended with baselines, prints what came of it, and keeps it in the run's folder.

    Args:
      folder: of the run.
      scratch: as `config.verdict.scratch`; None is the run's own.
      trivial: as `config.verdict.trivial`; None is the run's own.

    Returns:
      What the run was compared with, `compared`, and the answer in a word, `word`; None where both are 0.

    Raises:
      InputError: the folder is no run's, the run has not ended, or a share is below 0.
    """
    from jtransfer import train
    from jtransfer.judging import judge as judging
    from jtransfer.runs import open as open_run

    given = {"scratch": scratch, "trivial": trivial}
    for name, share in given.items():
        if share is not None and not share >= 0:
            raise InputError(f"{name}={share} must be at least 0")
    settings = open_run(folder).config.verdict.to_dict()
    settings |= {name: share for name, share in given.items() if share is not None}
    return judging.judge_and_tell(folder, settings, train.run)


def main(argv: list[str]) -> None:
    """Judges the run of a command line, and writes its report again."""
    values = flags.FlagValues()
    scratch = flags.DEFINE_float("scratch", None, "share of the run's steps", flag_values=values)
    trivial = flags.DEFINE_float("trivial", None, "share of the run's time", flag_values=values)
    rest = parse_flags(values, argv)
    if len(rest) != 1:
        raise InputError("give the folder of one run: python -m jtransfer.verdict RUN [--scratch=1]")
    set_up_compiler()
    with stopping.on_signals(), ending_where_stopped():
        found = judge(rest[0], scratch=scratch.value, trivial=trivial.value)
    if found is None:
        raise InputError("nothing was asked for; give --scratch=1, or --trivial=0.1")
    from jtransfer.reporting.page import write

    say(f"report: {write(rest[0])}")


if __name__ == "__main__":
    run_command(main)
