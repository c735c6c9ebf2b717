"""Writes the report of a run again: python -m jtransfer.report WORKDIR

`report.html` in the run's folder is one file that needs no other. It can be written while the run goes on, and again
afterwards.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from absl import flags

from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Writes the report of one run; prints its path."""
    rest = parse_flags(flags.FlagValues(), argv)
    if len(rest) != 1:
        raise InputError("give the folder of one run: python -m jtransfer.report WORKDIR")
    from jtransfer.reporting.page import write

    say(write(rest[0]))


if __name__ == "__main__":
    run_command(main)
