"""Weights files as lazy tables of tensors, read without the library that wrote them and without running what they hold.

tensors = formats.open("model.safetensors")
tensors["stem.weight"].shape, tensors["stem.weight"].dtype
tensors["stem.weight"].read()  # numpy, a view of the file where its format allows it
"""

import os
from contextlib import contextmanager

from jtransfer.errors import InputError
from jtransfer.weights.formats import folders, safetensors, torch_legacy, torch_zip
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened

__all__ = ["Lazy", "Opened", "open"]

_BY_SUFFIX = {".safetensors": safetensors.read}


def open(path: str | os.PathLike) -> Opened:
    """The tensors of a checkpoint, by name.

    Args:
      path: a file (safetensors; torch's `.pth`, `.pt`, `.bin`, zip or pre-zip), a sharded index (`….index.json`), or a
        folder with an index or one weights file. The reader is chosen by content, then by suffix.
    Returns:
      `Opened`, a mapping of names to `Lazy`. Only headers have been read.
    Raises:
      InputError: the file is missing, damaged, hostile or of a format that is not read; the text names file and reason.
    """
    path = os.fspath(path)
    with _naming(path):
        if os.path.isdir(path):
            path = folders.weights_file(path)
    if path.endswith(".index.json"):
        with _naming(path):
            return folders.read_index(File(path), _open_file)
    return _open_file(path)


def _open_file(path: str) -> Opened:
    with _naming(path):
        file = File(path)
        return _reader(file)(file)


def _reader(file: File):
    head = file[0:512]
    if not head:
        raise Malformed("is empty")
    if head.startswith(b"PK\x03\x04"):
        return torch_zip.read
    if torch_legacy.is_legacy(head):
        return torch_legacy.read
    if safetensors.is_safetensors(head):
        return safetensors.read
    reader = _BY_SUFFIX.get(os.path.splitext(file.path)[1])
    if reader is None:
        raise Malformed(_unread(head))
    return reader


def _unread(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "is a tar of torch before 0.1.10; load it with torch and save it again"
    if head.startswith(b"\x80"):
        return "is a bare pickle, which is not read; save a state dict with torch.save or safetensors"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; fetch the file itself"
    return "is of no format that is read (safetensors, torch zip, torch pre-zip)"


@contextmanager
def _naming(path: str):
    """Adds the file's name to what is wrong with it."""
    try:
        yield
    except Malformed as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
