"""Folders that may lie here or in a bucket."""

import os

from etils import epath


def place_of(source: str | os.PathLike) -> epath.Path | None:
    """The folder, here or in a bucket, that a source may be; None for other addresses, such as `hf://org/name`."""
    known = "://" not in str(source) or str(source).startswith("gs://")
    return epath.Path(source) if known else None
