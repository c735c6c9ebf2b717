"""Shows what a checkpoint holds: python -m jtransfer.inspect SOURCE [--adapters=FOLDER …]

A table of its tensors, the model that they fit, how images are prepared for it, and the tokenizer's files. No tensor is
read. SOURCE may be the folder of an adapter of Hugging Face's PEFT. With --adapters it shows which modules of SOURCE
the adapters in these folders are of.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import sys

from absl import flags

from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say


def main(argv: list[str]) -> None:
    """Prints the lines for the source of a command line."""
    values = flags.FlagValues()
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of the source", flag_values=values)
    rest = parse_flags(values, argv)
    if len(rest) != 1:
        raise InputError("give one source: python -m jtransfer.inspect model.safetensors")
    from jtransfer.weights import listing
    from jtransfer.weights.adapters import folder
    from jtransfer.weights.adapters import listing as of_adapters

    lines = of_adapters.lines(rest[0]) if folder.is_adapter(rest[0]) else listing.lines(rest[0])
    for line in of_adapters.fitting(rest[0], adapters.value) if adapters.value else lines:
        say(one_line(line, sys.maxsize))


if __name__ == "__main__":
    run_command(main)
