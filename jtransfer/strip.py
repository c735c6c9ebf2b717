"""Strips adapters: python -m jtransfer.strip SOURCE DEST [--format=FORMAT] [--step=STEP|best|last]

A run with adapters → its model without them in the new folder DEST, in a format of `jtransfer.export` (by default
"safetensors"): the base as it was, with the head and whatever else was trained beside the adapters.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from absl import flags

from jtransfer.core.command import parse_flags, run_command, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.new_folder import tell_leftovers
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Strips by a command line."""
    values = flags.FlagValues()
    format = flags.DEFINE_string("format", "safetensors", "as of jtransfer.export", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last; else its model", flag_values=values)
    rest = parse_flags(values, list(argv))
    if len(rest) != 2:
        raise InputError("give a run with adapters and a new folder: python -m jtransfer.strip RUN DEST")
    from jtransfer.exporting import without

    source, dest = rest
    tell_leftovers(dest)
    without.strip(source, dest, format.value, step=step_of(step.value))
    say(f"{source} → {dest} ({format.value}), without adapters")


if __name__ == "__main__":
    run_command(main)
