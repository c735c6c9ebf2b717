"""The validation split by which a choice is made: the config's own, or a part of the training split."""

import re
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.data import Source

_GROUPED = re.compile(r"\s*grouped\(\s*['\"]?([\w-]+)['\"]?\s*,.*\)\s*", re.DOTALL)
_SHARE, _LEAST = 0.2, 300  # of the examples that are held out; of fewer than 1,500, more


def of(config: Any, source: Source) -> tuple[str, str]:
    """Returns the splits to train on and to choose by, as expressions.

    Where the config names no validation split, a fifth of the training split is held out, or of few examples as much
    as a third: by class, and of a split of whole groups by the same groups.

    Args:
      config: A complete config.
      source: The training split.
    """
    spec = config.data
    if spec.validation:
        return spec.train, spec.validation
    size = len(source)
    part = round(100 * max(_SHARE, min(1 / 3, _LEAST / size)))
    grouped = _GROUPED.fullmatch(spec.train)
    how = f"grouped({grouped[1]}, " if grouped else "stratified(" if source.label_kind == "class" else "random("
    first, rest = (f"{how}{spec.train}, {cut}, seed={config.seed})" for cut in (f":{100 - part}%", f"{100 - part}%:"))
    return first, rest


def check(source: Source, where: str) -> None:
    """Checks that there are labels enough for a choice.

    Args:
      source: The training split.
      where: What it is called, for the error.

    Raises:
      InputError: There are no labels, one class alone, or fewer than two for each class.
    """
    if source.label_kind == "none":
        raise InputError(f"{where} has no labels, by which a choice could be made; name them with data.label_key")
    size, classes = len(source), len(source.class_names) if source.label_kind in ("class", "classes") else 1
    if source.label_kind == "class" and len(set(source.labels.tolist())) < 2:
        raise InputError(f"{where}: all examples are of one class, and a choice needs two")
    if size < max(4, 2 * classes):
        raise InputError(
            f"{where} has {size} examples of {classes} classes; a part is held out to choose by, so give at least "
            f"{max(4, 2 * classes)}, two of each"
            if classes > 1
            else f"{where} has {size} examples; a part is held out to choose by, so give at least 4"
        )
