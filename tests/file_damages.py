"""Kinds of damage of a file: name → what does it, given the path."""

import os
import zipfile
from pathlib import Path

import numpy as np


def changed(change):
    """Damages a file by a function of its bytes."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replaced(make):
    """Damages a file by putting something else in its place."""

    def damage(path):
        path.unlink()
        make(path)

    return damage


def sparse(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("probs.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 2)})
        for _ in range(40):
            file.write(bytes(1 << 20))


DAMAGES = {
    "empty": changed(lambda content: b""),
    "cut in the middle": changed(lambda content: content[: len(content) // 2]),
    "without its last byte": changed(lambda content: content.rstrip()[:-1]),
    "a zero in the middle": changed(lambda c: c[: len(c) // 2] + b"\0" + c[len(c) // 2 + 1 :]),
    "half a line more": changed(lambda content: content + content[: len(content.splitlines()[0]) // 2]),
    "zeros alone": changed(lambda content: bytes(len(content))),
    "zeros at the end": changed(lambda content: content + bytes(512)),
    "zeros at the beginning": changed(lambda content: bytes(512) + content[512:]),
    "a byte that is no text": changed(lambda c: c[: len(c) // 2] + bytes([255]) + c[len(c) // 2 + 1 :]),
    "twice": changed(lambda content: content + content),
    "backwards": changed(lambda content: content[::-1]),
    "another text": changed(lambda content: b"once upon a time\n"),
    "a page": changed(lambda content: b"<!DOCTYPE html>\n<html></html>\n"),
    "a pointer of Git LFS": changed(
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    ),
    "conflict markers": changed(lambda content: b"<<<<<<< HEAD\n" + content + b"=======\n>>>>>>> other\n"),
    "a number": changed(lambda content: b"3\n"),
    "null": changed(lambda content: b"null\n"),
    "a text in JSON": changed(lambda content: b'"text"\n'),
    "a list": changed(lambda content: b"[1, 2]\n"),
    "an empty object": changed(lambda content: b"{}\n"),
    "of other keys": changed(lambda content: b'{"a": 1}\n'),
    "nested too deep": changed(lambda content: b"[" * 200_000 + b"\n"),
    "nested too deep in objects": changed(lambda content: b'{"a":' * 200_000 + b"\n"),
    "a number of a million digits": changed(lambda content: b'{"step": ' + b"9" * 1_000_000 + b"}\n"),
    "not a number": changed(lambda content: b'{"step": NaN, "class_names": NaN, "mean": [NaN], "std": [1]}\n'),
    "a key twice": changed(lambda content: b'{"step": 1, "step": 2}\n'),
    "a byte order mark": changed(lambda content: b"\xef\xbb\xbf" + content),
    "UTF-16": changed(lambda content: content.decode("latin-1").encode("utf-16")),
    "latin-1": changed(lambda content: b'{"class_names": ["\xe4"]}\n'),
    "CRLF": changed(lambda content: content.replace(b"\n", b"\r\n")),
    "CR": changed(lambda content: content.replace(b"\n", b"\r")),
    "empty lines": changed(lambda content: content.replace(b"\n", b"\n\n")),
    "a line of a hundred megabytes": changed(lambda content: b"{" + b" " * 100_000_000 + b"\n"),
    "a gigabyte of nothing": replaced(sparse),
    "gone": replaced(lambda path: None),
    "a folder": replaced(Path.mkdir),
    "a link to nothing": replaced(lambda path: path.symlink_to("/nowhere/at/all")),
    "a link to itself": replaced(lambda path: path.symlink_to(path)),
    "a link to a device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "a pipe": replaced(os.mkfifo),
    "a zip bomb": replaced(bomb),
}
