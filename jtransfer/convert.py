"""Converts: python -m jtransfer.convert SOURCE DEST [--model=NAME] [--ignore=PATTERN …] [--verify]
    [--adapters=FOLDER …]

Any checkpoint that is read → an Orbax checkpoint in the new folder DEST, with `source.json` (its origin, digests,
names, the model and its fields, preprocessing) and the tokenizer's and processor's files. It is streamed: a few
megabytes are held, however large the checkpoint is. Tensors whose names match a PATTERN whole, a regular expression as
"queue.*", are not looked at. With --verify it is then compared with its reference (see
`jtransfer.proof.verify`); the exit code is 1 where they differ by more than 1e-4. With --adapters, the adapters in
these folders, of Hugging Face's PEFT, are merged into it; then the whole model is held in memory.
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import sys
from typing import Any

from absl import flags

from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.core.new_folder import tell_leftovers
from jtransfer.core.show import say


def main(argv: list[str]) -> None:
    """Converts by a command line; prints the report and, with --verify, the differences from the reference."""
    values = flags.FlagValues()
    name = flags.DEFINE_string("model", "", "by default what the source says or fits", flag_values=values)
    ignore = flags.DEFINE_multi_string("ignore", [], "names of tensors that are not looked at", flag_values=values)
    check = flags.DEFINE_boolean("verify", False, "compare with the reference implementation", flag_values=values)
    adapters = flags.DEFINE_multi_string("adapters", [], "folders of adapters to merge", flag_values=values)
    rest = parse_flags(values, list(argv))
    if len(rest) != 2:
        raise InputError("give a source and a new folder: python -m jtransfer.convert SOURCE DEST [--model=NAME]")
    from jtransfer import weights
    from jtransfer.models.title import title
    from jtransfer.proof import verify
    from jtransfer.weights.conversion import convert
    from jtransfer.weights.identify import manifest

    if adapters.value:
        if name.value or ignore.value or check.value:
            raise InputError("--adapters merges into what the source says that it is; leave the other flags out")
        from jtransfer.exporting import export

        tell_leftovers(rest[1])
        export.export(rest[0], rest[1], "orbax", adapters=adapters.value)
        say(f"{rest[0]} → {rest[1]}, with {len(adapters.value)} adapters merged")
        return
    checkpoint, dest = weights.open(rest[0], ignore=ignore.value), rest[1]
    tell_leftovers(dest)
    spec, report = convert(checkpoint, dest, model=name.value or None)
    say(report)
    if spec.unsure:
        say(f"{' and '.join(spec.unsure)} can't be told from the source; the model has its own: --verify tells")
    say(f"{title(spec.name, manifest.fields(spec.name, spec.model))} with {_head(spec.model)} → {dest}")
    if check.value and not verify.check(checkpoint, dest, spec, report):
        sys.exit(1)


def _head(model: Any) -> str:
    kind = getattr(model, "head", "classify")
    return f"{model.num_classes} classes" if kind in ("classify", "tag") else f"head={kind!r}"


if __name__ == "__main__":
    run_command(main)
