"""Shows what a checkpoint holds: python -m jtransfer.inspect SOURCE

A table of its tensors, the model that they fit, how images are prepared for it, and the tokenizer's files. No tensor is
read.
"""

import sys

from absl import flags

from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say


def main(argv: list[str]) -> None:
    """Prints the lines for the source of a command line."""
    rest = parse_flags(flags.FlagValues(), argv)
    if len(rest) != 1:
        raise InputError("give one source: python -m jtransfer.inspect model.safetensors")
    from jtransfer.weights.listing import lines

    for line in lines(rest[0]):
        say(one_line(line, sys.maxsize))


if __name__ == "__main__":
    run_command(main)
