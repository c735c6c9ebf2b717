"""Folders that may lie on this machine or in a bucket."""

import os

from etils import epath


def place_of(source: str | os.PathLike) -> epath.Path | None:
    """Returns the path of a folder that lies on this machine or in a bucket.

    Args:
      source: A path or an address.

    Returns:
      The path, or None for other addresses, such as `hf://org/name`.
    """
    known = "://" not in str(source) or str(source).startswith("gs://")
    return epath.Path(source) if known else None
