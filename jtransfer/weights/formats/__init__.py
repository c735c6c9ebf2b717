"""Weights files as lazy tables of tensors, read without the library that wrote them and without running what they hold.

tensors = formats.open("model.safetensors")
tensors["stem.weight"].shape, tensors["stem.weight"].dtype
tensors["stem.weight"].read()  # a NumPy array, which is a view of the file if its format allows that
"""

import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError, nearest
from jtransfer.weights.formats import (
    choice,
    folders,
    msgpack,
    networks,
    npz,
    safetensors,
    torch_legacy,
    torch_zip,
    wrappers,
    zips,
)
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened

__all__ = ["Lazy", "Opened", "open", "open_own", "shards", "split"]


def open(path: str | os.PathLike) -> Opened:
    """Opens a file or a folder of weights as a mapping from names to lazy tensors.

    Args:
      path: a file (safetensors; torch's `.pth`, `.pt`, `.bin`, zip or pre-zip; `.npz`; Flax `.msgpack`; Keras
        `.weights.h5`, `.h5`, `.keras`), a sharded index (`….index.json`), an Orbax folder, or a folder of
        weights (see `choice`). The reader is chosen by content, then by suffix. `path:img/head` is the sub-tree
        `img/head`, and `path:student` the network `student` of a file with several.

    Returns:
      An `Opened`, which is a mapping from names to `Lazy` tensors. Only headers have been read.

    Raises:
      InputError: the file is missing, damaged, hostile or of a format that is not read; the text names file and reason.
    """
    path, branch = split(path)
    opened, branch = networks.select(_open(path), path, branch)
    if inside := branch and _below(opened, branch):
        return _stripped(inside)
    opened = _stripped(opened)
    return _branch(opened, path, branch) if branch else opened


def open_own(root: str | os.PathLike, most: int | None = None) -> Opened:
    """Opens the arrays of one tree of an Orbax checkpoint that was written here, such as a run's, by their whole paths.

    Args:
      root: the folder of the tree, local or an address such as `gs://bucket/path`.
      most: the bytes that all arrays together may have; by default a multiple of those of the files.

    Raises:
      InputError: it is damaged; the text names the folder and the reason.
    """
    from jtransfer.weights.formats import orbax

    root = os.fspath(root)
    with _naming(root):
        return _named(orbax.read_own(root, most), root)


def split(path: str | os.PathLike) -> tuple[str, str]:
    """Returns the file and the sub-tree of a path such as "file.npz:img/head".

    The sub-tree is "" if the path exists as it stands, or if the part before the last colon does not exist.
    """
    path = os.fspath(path)
    file, colon, branch = path.rpartition(":")
    return (file, branch) if colon and os.path.exists(file) and not os.path.exists(path) else (path, "")


def shards(index: str | os.PathLike) -> list[str]:
    """Returns the names of the files that a sharded index names, all of which belong into its folder.

    Args:
      index: the path of the index, such as `model.safetensors.index.json`.

    Raises:
      InputError: as for `open`.
    """
    path = os.fspath(index)
    with _naming(path):
        return folders.shard_names(folders.weight_map(File(path)))


def _open(path: str) -> Opened:
    with _naming(path):
        if os.path.isdir(path):
            from jtransfer.weights.formats import orbax

            if orbax.item(path):
                return _named(orbax.read(path), path)
            return _open_in(path, choice.choose(*folders.content(path)))
    if choice.is_index(os.path.basename(path)):
        with _naming(path):
            return folders.read_index(File(path), _open_file)
    return _open_file(path)


def _open_in(folder: str, name: str) -> Opened:
    """Opens the weights in a folder, and says which others lie there."""
    path = os.path.join(folder, name)
    opened = _open(path)
    beside = choice.beside(name, folders.content(folder)[0], shards(path) if choice.is_index(name) else ())
    return replace(opened, notes=(*beside, *opened.notes))


def _open_file(path: str) -> Opened:
    with _naming(path):
        if choice.is_trainers(os.path.basename(path)):
            raise Malformed("is what a trainer keeps to go on, not weights; name the file of the weights beside it")
        file = File(path)
        return _named(_reader(file)(file), path)


def _reader(file: File) -> Callable[[File], Opened]:
    head = file[0:512]
    if not head:
        raise Malformed("is empty")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_h5
    if torch_legacy.is_legacy(head):
        return torch_legacy.read
    if safetensors.is_safetensors(head) or file.path.endswith(".safetensors"):
        return safetensors.read
    if msgpack.is_msgpack(head) or file.path.endswith(".msgpack"):
        return msgpack.read
    raise Malformed(_unread(head))


def _read_zip(file: File) -> Opened:
    members = zips.members(file)
    if torch_zip.is_torch(members):
        return torch_zip.read(file, members)
    if npz.is_npz(members):
        return npz.read(file, members)
    from jtransfer.weights.formats import keras_h5

    if keras_h5.is_keras(members):
        return keras_h5.read_archive(file, members)
    raise Malformed("is a zip archive, but of neither torch, numpy nor Keras")


def _read_h5(file: File) -> Opened:
    from jtransfer.weights.formats import keras_h5

    return keras_h5.read(file)


def _unread(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "is a tar of torch before 0.1.10; load it with torch and save it again"
    if head.startswith(b"\x80"):
        return "is a bare pickle, which is not read; save a state dict with torch.save or safetensors"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; fetch the file itself"
    return "is of no format that is read (safetensors, torch, npz, msgpack, Keras HDF5, Orbax)"


def _stripped(opened: Opened) -> Opened:
    """The same tensors, without what training programs put into their names."""
    tensors, prefixes = wrappers.strip(opened)
    return replace(opened, tensors=tensors, unwrapped=(*opened.unwrapped, *prefixes))


def _below(opened: Opened, branch: str) -> Opened | None:
    """The tensors below a sub-tree, named from there on; None if there are none."""
    for end in ("/", "."):
        prefix = branch + end
        tensors = {name.removeprefix(prefix): t for name, t in opened.items() if name.startswith(prefix)}
        if tensors:
            return replace(opened, tensors=tensors, unwrapped=(*opened.unwrapped, prefix))
    return None


def _branch(opened: Opened, path: str, branch: str) -> Opened:
    if found := _below(opened, branch):
        return found
    parts = [name.replace(".", "/").split("/")[:-1] for name in opened]
    known = sorted({"/".join(part[:n]) for part in parts for n in range(1, min(len(part), 4) + 1)})
    close = ", ".join(nearest(branch, known) or known[:5])
    raise InputError(f"{path}: has no sub-tree {branch!r}; nearest: {close or 'none exist'}")


def _named(opened: Opened, path: str) -> Opened:
    """The same tensors, whose reading names the file in its errors."""
    if not opened and not opened.networks:
        raise Malformed("holds no tensors")
    named = {name: _named(network, path) for name, network in opened.networks.items()}
    return replace(opened, tensors={name: _naming_in(t, path) for name, t in opened.items()}, networks=named)


def _naming_in(tensor: Lazy, path: str) -> Lazy:
    window = partial(_call, tensor.window, path) if tensor.window else None
    return replace(tensor, fetch=partial(_call, tensor.fetch, path), window=window)


def _call(read: Callable[..., np.ndarray], path: str, *index: Any) -> np.ndarray:
    with _naming(path):
        return read(*index)


@contextmanager
def _naming(path: str):
    """Adds the file's name to what is wrong with it."""
    try:
        yield
    except Malformed as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
