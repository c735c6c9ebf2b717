"""Examples without labels that are of known classes, which a model is adapted to."""

import dataclasses
from collections.abc import Sequence

from jtransfer.data.source import Source

NONE = -1  # the label of an example that has none


def as_of(source: Source, names: Sequence[str], where: str) -> Source:
    """Returns examples without labels as examples of these classes; the label of each is −1.

    Args:
      source: The examples.
      names: The names of the classes, in order.
      where: Where the classes are from, for a note.
    """
    return dataclasses.replace(
        source,
        class_names=list(names),
        read=lambda i: {**source.read(i), "label": NONE},
        notes=(*source.notes, f"the target's examples have no labels; their classes are those of {where}"),
    )


def is_unlabelled(source: Source) -> bool:
    """Returns whether a source is of examples that have classes, but no labels."""
    return source.label_kind == "none" and bool(source.class_names)
