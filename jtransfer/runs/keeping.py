"""`config.keep`: which checkpoints of a run stay."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from jtransfer.core import fields
from jtransfer.core.errors import InputError
from jtransfer.training.checkpoint import Keep


def of(given: Any) -> Keep:
    """Returns what a config keeps.

    Args:
      given: The number of the last checkpoints; or a mapping of "last", "every" and "best".

    Raises:
      InputError: It is neither, or a number is no whole number of at least 0, of "last" at least 1.
    """
    named = dict(given) if isinstance(given, Mapping | ConfigDict) else {"last": given}
    fields.check("config.keep", "section", "keep", Keep, named, skip=0)
    keep = Keep(**named)
    if keep.last < 1 or keep.every < 0 or keep.best < 0:
        raise InputError(
            f"config.keep={named}: give the number of the last checkpoints, at least 1, or "
            "{'last': 2, 'every': 1000, 'best': 3}, where every and best may be 0"
        )
    return keep
