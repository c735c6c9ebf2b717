"""Writes the report of a run again: python -m jtransfer.report WORKDIR [WORKDIR …] [--to=FILE.html]

`report.html` in the run's folder is one file that needs no other. It can be written while the run goes on, and again
afterwards. Of several runs one page has them side by side: what each reached, with the difference to the first on the
same examples, what they took, and which fields of their configs are not the same.

--to=FILE.html   the file; of one run it is report.html in its folder, and of several reports.html in the current folder
--noattribution  leaves out what the predictions that are shown rest on, for which the model is run
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from absl import flags

from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Writes the report of one run, or of several side by side; prints its path."""
    values = flags.FlagValues()
    to = flags.DEFINE_string("to", "", "the file of the page", flag_values=values)
    attribution = flags.DEFINE_boolean("attribution", True, "draw what predictions rest on", flag_values=values)
    rest = parse_flags(values, argv)
    if not rest:
        raise InputError("give the folder of a run, or of several: python -m jtransfer.report WORKDIR")
    from jtransfer.reporting import page, side_by_side

    if len(rest) == 1 and not to.value:
        say(page.write(rest[0], attribution=attribution.value))
    else:
        say(side_by_side.write(rest, to.value, attribution=attribution.value))


if __name__ == "__main__":
    run_command(main)
