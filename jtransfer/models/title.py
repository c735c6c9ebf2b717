"""What a model is called where people read it: by its name, or, of another size, by its family and size."""

import re
from collections.abc import Mapping
from typing import Any

from jtransfer import models
from jtransfer.core.errors import InputError
from jtransfer.core.tree import as_tuples

SIZES = ("depth", "width", "depths", "widths", "decoder_depth", "num_heads", "head_dim", "mlp_dim", "num_layers")
_SIZE = re.compile(
    r"(_(tiny|small|base|medium|large|xl|xxl|l\d+|lite\d|b\d|\d+_\d+b?|\d+[bm])|(?<=net|vgg|ext|trs)\d+[cdst]?)(_.*)?$"
)


def title(name: str, fields: Mapping[str, Any]) -> str:
    """Returns the name of a model, or, if its fields make it of another size, its family and size.

    A T5 of three layers is "t5 (3 layers × 16)", though its fields are told by how they differ from those of "t5_3b".

    Args:
      name: the model's name in `models.names()`, or an address, which is returned.
      fields: its fields that differ from those of the model called so.
    """
    try:
        usual, model = models.create(name), models.create(name, **fields)
    except InputError:
        return name
    changed = {key: as_tuples(fields[key]) for key in SIZES if key in fields}
    changed = {key: value for key, value in changed.items() if getattr(usual, key, value) != value}
    if name not in models.names() or not changed:
        return name
    depth, width = getattr(model, "depth", None), getattr(model, "width", None)
    if isinstance(depth, int) and isinstance(width, int):
        return f"{family(name)} ({depth} {'layer' if depth == 1 else 'layers'} × {width})"
    return f"{family(name)} ({', '.join(f'{key} {_text(value)}' for key, value in changed.items())})"


def family(name: str) -> str:
    """Returns the name of a model without its size: "t5" of "t5_3b", "resnet" of "resnet50"."""
    return _SIZE.sub("", name)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
