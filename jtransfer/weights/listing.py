"""What a checkpoint holds, as lines of text; no tensor is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError, some
from jtransfer.core.show import one_line, shown
from jtransfer.core.text_table import format_bytes, lay_out
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights import formats
from jtransfer.weights.identify import manifest, sidecar_files
from jtransfer.weights.identify.detect import Detection
from jtransfer.weights.restore import recognise

SHOWN = 5  # problems of each kind


def lines(source: checkpoints.Source) -> Iterator[str]:
    """Yields the text for a checkpoint, line by line.

    Args:
      source: an address or an open checkpoint; see `weights.open`.

    Raises:
      InputError: there is no such source, or it can't be read.
    """
    checkpoint = checkpoints.open(source)
    opened, own = checkpoint.tensors, checkpoint.manifest
    if not isinstance(opened, formats.Opened):
        raise InputError(f"{checkpoint.name} lie in no file; give the address of one")
    named = sidecar_files.names(checkpoint.configs)
    total = sum(tensor.nbytes for tensor in opened.values())
    yield f"{shown(checkpoint.name)}: {opened.format}, {len(opened)} tensors, {format_bytes(total)}"
    rows = [(shown(name), t.dtype.name, str(list(t.shape)), f"{t.nbytes:,}") for name, t in opened.items()]
    yield from lay_out([("name", "dtype", "shape", "bytes"), *rows], align="<<<>")
    if opened.unwrapped:
        yield f"taken off around the tensors: {', '.join(map(shown, opened.unwrapped))}"
    yield from map(one_line, checkpoint.notes)
    if opened.left_out:
        yield f"beside the tensors: {some(opened.left_out)}"
    if named:
        yield f"config.json calls it {', '.join(map(shown, named))}"
    if own:
        yield f"converted from {shown(own['source'])} ({shown(own['digest'])})"
        yield f"model: {shown(own['model']['name'])}{_fields(own['model']['fields'])}"
        yield from _preprocessing(own["preprocessing"], manifest.FILE)
    else:
        yield from _recognised(checkpoint)
    if names := [name for name in sidecar_files.TOKENIZER if checkpoint.file(name)]:
        yield f"tokenizer: {', '.join(names)}"


def _recognised(checkpoint: checkpoints.Checkpoint) -> Iterator[str]:
    """What the tensors and the files beside them are of."""
    given = sidecar_files.preprocessing(checkpoint.configs)
    try:
        detection = recognise(checkpoint)
    except InputError as error:
        yield f"model: {error}"
        detection = None
    else:
        yield from (
            _model(detection) if detection else [f"model: its names fit no model here{_parts(checkpoint.tensors)}"]
        )
    if given:
        yield from _preprocessing(*given)
    elif detection:
        own = models.create(detection.model).preprocessing
        yield from _preprocessing(own, f"none beside the weights; {detection.model}'s own")


def _parts(opened: Mapping[str, Any]) -> str:
    """The sub-trees that may be models of their own, where there are a few."""
    parts = list(dict.fromkeys(name.split("/")[0] for name in opened if "/" in name))
    return f"; look at one of its parts, SOURCE:{some(tuple(parts))}" if 1 < len(parts) <= SHOWN else ""


def _model(detection: Detection) -> Iterator[str]:
    fits = "every tensor has its place" if not detection.misfits else f"the nearest, with {detection.misfits} misfits"
    if detection.prefix:
        yield f"the tensors below {shown(detection.prefix)} are those of a model"
    yield f"model: {detection.model}{_fields(detection.fields)} ({detection.scheme} names): {fits}"
    if detection.unsure:
        yield f"  {' and '.join(detection.unsure)} can't be told from the file: see where the weights come from"
    for kind in ("missing", "unexpected", "reshaped"):
        if names := getattr(detection, kind):
            yield f"  {kind}: {some(names)}"


def _fields(fields: Mapping[str, Any]) -> str:
    """Those that the line of the preprocessing does not show."""
    return "".join(f", {key}={value}" for key, value in fields.items() if key not in ("image_size", "pixels"))


def _preprocessing(content: Mapping[str, Any], where: str) -> Iterator[str]:
    if content:
        said = (f"{key} {_text(value)}" for key, value in content.items() if value is not None)
        yield f"preprocessing ({where}): " + ", ".join(said)


def _text(value: Any) -> str:
    numbers = value if isinstance(value, tuple | list) else (value,)
    return " ".join(f"{number:.4g}" if isinstance(number, float) else one_line(str(number)) for number in numbers)
