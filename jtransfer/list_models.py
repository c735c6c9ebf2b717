"""Lists models: python -m jtransfer.list_models [PATTERN] [--json]

PATTERN is a part of a name or of an address, or a pattern as 'resnet*d'. Each line has the model's name, its parameters
with a head of 1,000 classes (or of the vocabulary) and without, its input, and addresses of pretrained weights, which
config.init takes. --json prints a list with all that is known.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import json

from absl import flags

from jtransfer import catalogue
from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.core.text_table import lay_out


def main(argv: list[str]) -> None:
    """Prints the models that a command line asks for."""
    values = flags.FlagValues()
    as_json = flags.DEFINE_boolean("json", False, "a list with all that is known", flag_values=values)
    rest = parse_flags(values, argv)
    if len(rest) > 1:
        raise InputError("give one pattern, in quotes where it has a *: jtransfer models 'resnet*d'")
    found = catalogue.find(*rest)
    if as_json.value:
        say(json.dumps([one._asdict() for one in found], indent=1))
    else:
        heads = ("model", "parameters", "without head", "input", "weights")
        for line in lay_out([heads, *map(_row, found)], "<>>"):
            say(line)


def _row(one: catalogue.Known) -> tuple[str, ...]:
    return one.name, _millions(one.parameters), _millions(one.without_head), _input(one), _weights(one)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"


def _input(one: catalogue.Known) -> str:
    """The shape of an image, or the names of what a tokenizer gives."""
    if "" in one.input:
        return f"{one.takes[0]} " + " × ".join(map(str, one.input[""][1:]))
    return f"{' and '.join(one.takes)}: {', '.join(one.input)}"


def _weights(one: catalogue.Known) -> str:
    return " ".join(one.addresses[:2]) + (f" and {len(one.addresses) - 2} more" if one.addresses[2:] else "")


if __name__ == "__main__":
    run_command(main)
