"""Merges adapters: python -m jtransfer.merge SOURCE DEST [--adapters=FOLDER …] [--format=FORMAT] [--untie]

A run with adapters, or a base and the folders of its adapters → the new folder DEST, in which the adapters are merged
into the parameters, in a format of `jtransfer.export` (by default "safetensors"). It is computed in float32. The
largest and the mean change of the logits are printed, on examples of the run's data, or on made-up inputs where there
are none. Embeddings that are also the head's kernel are not merged into unless --untie makes them two.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

from absl import flags

from jtransfer.core.command import parse_flags, run_command, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.new_folder import tell_leftovers
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Merges by a command line."""
    values = flags.FlagValues()
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters of a base", flag_values=values)
    format = flags.DEFINE_string("format", "safetensors", "as of jtransfer.export", flag_values=values)
    step = flags.DEFINE_string("step", "", "of a run: one it kept, best or last; else its model", flag_values=values)
    untie = flags.DEFINE_boolean("untie", False, "make tied embeddings and head two", flag_values=values)
    rest = parse_flags(values, list(argv))
    if len(rest) != 2:
        raise InputError(
            "give a run or a base, and a new folder: python -m jtransfer.merge SOURCE DEST --adapters=FOLDER"
        )
    from jtransfer.exporting import without

    source, dest = rest
    tell_leftovers(dest)
    without.merge(source, dest, format.value, step=step_of(step.value), adapters=adapters.value, untie=untie.value)
    say(f"{source} → {dest} ({format.value}), merged")


if __name__ == "__main__":
    run_command(main)
