"""Data in buckets, which are fetched before they are read."""

import os
import re
from collections.abc import Mapping
from typing import Any

from jtransfer.core import bucket
from jtransfer.core.errors import InputError

_ADDRESS = re.compile(rf"(?:{'|'.join(bucket.EXTRAS)})://[^,{{]*[^,{{/]")


def on_this_machine(location: str, spec: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Returns where data lie on this machine, with the addresses of buckets in their location and `image_dir` fetched.

    Of `gs://bucket/{train,test}.csv` the folder is fetched; a folder with all that is in it.

    Args:
      location: What follows the kind of the data: one path or several, or addresses.
      spec: The fields of `config.data`.

    Raises:
      InputError: There is nothing at an address, or its bucket can't be read.
    """
    images = spec.get("image_dir", "")
    if bucket.is_address(images):
        spec = {**spec, "image_dir": _fetched(images)}
    return _ADDRESS.sub(lambda found: _fetched(found[0]), location), spec


def _fetched(address: str) -> str:
    copy = bucket.fetched(address)
    if copy is None:
        raise InputError(f"{address}: there is no such file or folder, or your credentials don't reach it")
    return os.fspath(copy)
