"""The names in a checkpoint of transformers' base model, such as `ViTModel`: those of its models with a head, without
the prefix that these put before all but the head's."""

import dataclasses

from jtransfer.weights.mapping import Map, Scheme, as_tuple


def without_prefix(scheme: Scheme, prefix: str) -> Scheme:
    """Returns the scheme of the base model.

    Args:
      scheme: Of a model with a head, whose names stay as they are.
      prefix: Of the names of everything before the head, with its dot, such as "vit.".
    """

    def bare(row: Map) -> Map:
        names = tuple(name.removeprefix(prefix) for name in as_tuple(row.source))
        return dataclasses.replace(row, source=names if isinstance(row.source, tuple) else names[0])

    zeros = {name.removeprefix(prefix): shape for name, shape in scheme.zeros.items()}
    return dataclasses.replace(scheme, name=f"{scheme.name} base", rows=tuple(map(bare, scheme.rows)), zeros=zeros)
