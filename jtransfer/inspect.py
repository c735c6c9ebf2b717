"""Shows what a checkpoint holds: python -m jtransfer.inspect SOURCE

A table of its tensors, the model that they fit, how images are prepared for it, and the tokenizer's files. No tensor is
read.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from jtransfer import models, weights
from jtransfer.core.command import parse_flags, run_command
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.identify import manifest, sidecar_files
from jtransfer.weights.identify.detect import Guess
from jtransfer.weights.restore import beside_source, calls, recognise
from jtransfer.weights.source import fetch_beside

SHOWN = 5  # problems of each kind


def lines(source: str) -> Iterator[str]:
    """The text for a source, as `weights.resolve` takes it, line by line.

    Raises:
      InputError: there is no such source, or it can't be read.
    """
    opened, files = formats.open(weights.resolve(source)), beside_source(source)
    own, named = manifest.read(source), sidecar_files.names(files)
    yield f"{_printable(source)}: {opened.format}, {len(opened)} tensors, {_size(_total(opened))}"
    yield from _table([(_printable(name), t.dtype.name, str(list(t.shape)), t.nbytes) for name, t in opened.items()])
    if opened.unwrapped:
        yield f"taken off around the tensors: {', '.join(map(_printable, opened.unwrapped))}"
    if opened.left_out:
        yield f"beside the tensors: {_some(opened.left_out)}"
    if named:
        yield f"config.json calls it {', '.join(map(_printable, named))}"
    if own:
        yield f"converted from {_printable(own['source'])} ({own['digest']})"
        yield f"model: {own['model']['name']}{_fields(own['model']['fields'])}"
        yield from _preprocessing(own["preprocessing"], manifest.FILE)
    else:
        yield from _guessed(opened, files, calls(source, files))
    if found := [name for name in sidecar_files.TOKENIZER if fetch_beside(source, name)]:
        yield f"tokenizer: {', '.join(found)}"


def main(argv: list[str]) -> None:
    """Prints the lines for the source of a command line."""
    rest = parse_flags(flags.FlagValues(), argv)
    if len(rest) != 1:
        raise InputError("give one source: python -m jtransfer.inspect model.safetensors")
    for line in lines(rest[0]):
        print(line)


def _guessed(opened: formats.Opened, files: Mapping[str, Any], called: Sequence[str]) -> Iterator[str]:
    """What the tensors and the files beside them are of."""
    given = sidecar_files.preprocessing(files)
    try:
        found = recognise(opened, files, called)
    except InputError as error:
        yield f"model: {error}"
        found = None
    else:
        yield from _model(found) if found else [f"model: its names fit none of ours{_parts(opened)}"]
    if given:
        yield from _preprocessing(*given)
    elif found:
        own = models.create(found.model).preprocessing
        yield from _preprocessing(own, f"none beside the weights; {found.model}'s own")


def _parts(opened: formats.Opened) -> str:
    """The sub-trees that may be models of their own, where there are a few."""
    parts = list(dict.fromkeys(name.split("/")[0] for name in opened if "/" in name))
    return f"; look at one of its parts, SOURCE:{_some(tuple(parts))}" if 1 < len(parts) <= SHOWN else ""


def _model(found: Guess) -> Iterator[str]:
    fits = "every tensor has its place" if not found.misfits else f"the nearest, with {found.misfits} misfits"
    yield f"model: {found.model}{_fields(found.fields)} ({found.scheme} names): {fits}"
    if found.unsure:
        yield f"  {' and '.join(found.unsure)} can't be told from the file: see where the weights come from"
    for kind, names in (("missing", found.missing), ("unexpected", found.unexpected), ("reshaped", found.reshaped)):
        if names:
            yield f"  {kind}: {_some(names)}"


def _fields(fields: Mapping[str, Any]) -> str:
    """Those that the line of the preprocessing does not show."""
    return "".join(f", {key}={value}" for key, value in fields.items() if key not in ("image_size", "pixels"))


def _preprocessing(content: Mapping[str, Any], where: str) -> Iterator[str]:
    if content:
        yield f"preprocessing ({where}): " + ", ".join(f"{key} {_text(value)}" for key, value in content.items())


def _table(rows: list[tuple[str, str, str, int]]) -> Iterator[str]:
    cells = [(*row[:3], f"{row[3]:,}") for row in rows]
    widths = [max(map(len, column)) for column in zip(("name", "dtype", "shape", "bytes"), *cells, strict=True)]
    for name, dtype, shape, size in [("name", "dtype", "shape", "bytes"), *cells]:
        yield f"  {name:<{widths[0]}}  {dtype:<{widths[1]}}  {shape:<{widths[2]}}  {size:>{widths[3]}}"


def _total(opened: formats.Opened) -> int:
    return sum(tensor.nbytes for tensor in opened.values())


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    raise AssertionError


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(_printable, names[:SHOWN])) + more


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _text(value: Any) -> str:
    numbers = value if isinstance(value, tuple | list) else (value,)
    return " ".join(f"{number:.4g}" if isinstance(number, float) else _printable(str(number)) for number in numbers)


if __name__ == "__main__":
    run_command(main)
