"""Fields of a model that have an entry for each of its stages."""

from collections.abc import Iterator, Sequence
from typing import Any

from jtransfer.core.errors import InputError


def by_stage(**fields: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The entries of fields, by their names in the model, one tuple for each stage.

    Raises:
      InputError: they are of different numbers of stages.
    """
    if len({len(value) for value in fields.values()}) > 1:
        told = " and ".join(f"{name} of {len(value)} stages" for name, value in fields.items())
        raise InputError(f"{told}; they must be as many")
    return zip(*fields.values(), strict=True)
