"""What an adapter holds, as lines of text; of tensors, only shapes are looked at unless a base is given."""

import os
from collections.abc import Iterator

from jtransfer.core import tree as trees
from jtransfer.core.errors import some
from jtransfer.core.show import one_line, shown
from jtransfer.core.text_table import format_bytes, lay_out
from jtransfer.peft import FIXED, slots
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights.adapters import attach, folder, load
from jtransfer.weights.restore import describe


def lines(source: str | os.PathLike) -> Iterator[str]:
    """Yields the text for the folder of an adapter, line by line.

    Args:
      source: as for `folder.open`.

    Raises:
      InputError: there is no adapter, or it is damaged.
    """
    opened = folder.open(source)
    total = sum(tensor.nbytes for tensor in opened.tensors.values())
    kind, about, fields = opened.config.type, opened.config.about, opened.config.fields
    yield f"{shown(opened.name)}: an adapter, {kind} of PEFT, {len(opened.tensors)} tensors, {format_bytes(total)}"
    rows = [(shown(name), t.dtype.name, str(list(t.shape))) for name, t in opened.tensors.items()]
    yield from lay_out([("name", "dtype", "shape"), *rows])
    yield from map(one_line, opened.notes)
    told = {key: value for key, value in fields.items() if value not in (None, False, [], {}, 0.0, "none")}
    yield one_line(", ".join(f"{key} {value}" for key, value in told.items()), 2000)
    named = opened.base.source if opened.base else about.get("base_model_name_or_path")
    digest = f" ({opened.base.digest})" if opened.base else ", of which no digest is known"
    yield f"its base: {shown(str(named)) if named else 'not named'}{digest}"
    yield "see how it fits a base: python -m jtransfer.inspect BASE --adapters=FOLDER"


def fitting(source: checkpoints.Source, given: attach.Sources) -> Iterator[str]:
    """Yields the text for adapters on a base, line by line; the base is not read, so its digest is not compared.

    Args:
      source: the base.
      given: the adapters, as for `weights.restore`.

    Raises:
      InputError: an adapter does not fit the base.
    """
    spec = describe(source)
    if stated := attach.fields(spec.model, given):
        spec = describe(source, **stated)
        yield f"with the adapter the model has {', '.join(f'{key}={value}' for key, value in stated.items())}"
    for label, one in attach.labelled(given).items():
        found = load.load(one, spec.model, label=label)
        yield from map(one_line, found.lines)
        rows = [(path, slot, _size(own)) for path, slot, own in slots.split(found.adapters)]
        yield from lay_out([("module", "adapter", "numbers"), *rows], align="<<>")
        if found.params:
            yield f"replaces {some(list(found.params))}"


def _size(own: dict) -> str:
    return f"{trees.count({name: leaf for name, leaf in own.items() if name != FIXED}):,}"
