"""What tells what a teacher says of some examples from all else: the key under which it is kept."""

import hashlib
import importlib.metadata
import inspect
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.data import Source
from jtransfer.data.source import spread
from jtransfer.objectives import Wanted, taught
from jtransfer.runs import fingerprint
from jtransfer.runs.stream import Stream
from jtransfer.training import digest

Run = Any  # build.Run
_VERSION = 1  # of what is kept
_MOST, _FEW = 100_000, 64  # examples whose content is looked at, of data that have no files and of data that have


def of(run: Run, stream: str, wanted: Wanted, of_all: str) -> str:
    """The digest of all that what is wanted is made of."""
    parts = [of_all, wanted.key]
    if wanted.output == taught.CHUNKS:
        parts.append(_rows(run.streams[stream], run.model))
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def of_all(model: Any, opened: Stream, variables: dict) -> str:
    """The digest of the weights, the model, the data and how they are prepared."""
    parts = {
        "version": [_VERSION, importlib.metadata.version("jtransfer")],
        "variables": digest.digest(variables),
        "model": re.sub(r" at 0x[0-9a-f]+", "", repr(model)),
        "code": code(type(model)),
        "data": fingerprint.of_split(opened.whole["train"]),
        "examples": _content(opened.whole["train"]),
        "prepared": _rows(opened, model),
        "task": opened.task_name,
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


def code(kind: type) -> str:
    """Returns the code of a model that a user brings; of the package's, which has a version, ""."""
    if kind.__module__.startswith("jtransfer."):
        return ""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError, KeyError):
        return repr(kind)


def _content(source: Source) -> str:
    """The digest of which examples a source has, and of the content of some of them; of all where no file tells it."""
    held = hashlib.blake2b(digest_size=16)
    if source.numbers is not None:
        held.update(np.asarray(source.numbers, np.int64).tobytes())
    known = bool(source.files) or source.fingerprint is not None
    for i in spread(len(source), _FEW if known else _MOST):
        _add(held, source[i])
    return held.hexdigest()


def _rows(stream: Stream, model: Any) -> str:
    """The digest of some examples as they are prepared, and of how."""
    held, source = hashlib.blake2b(digest_size=16), stream.sources["train"]
    transform = stream.transform(model, train=False)
    held.update(repr([(name, stream.data[name]) for name in stream.modality.prepares]).encode())
    held.update(repr({name: stream.data[name] for name in ("length", "target_length") if name in stream.data}).encode())
    for i in spread(len(source), _FEW):
        _add(held, transform(source[i], np.random.default_rng(0)))
    statistics = {name: getattr(stream.modality, name, None) for name in ("mean", "std")}
    _add(held, {name: array for name, array in statistics.items() if isinstance(array, np.ndarray)})
    return held.hexdigest()


def _add(held: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for name in sorted(value):
            held.update(f"{name}:".encode())
            _add(held, value[name])
    elif isinstance(value, str | list | tuple):
        held.update(repr(value).encode())
    else:
        array = np.asarray(value)
        held.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
