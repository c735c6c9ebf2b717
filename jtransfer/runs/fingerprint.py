"""What tells a run's data from others: `data.json` in its folder, with which a run that goes on is compared.

Of each split it has the number of examples, a digest of their labels, how many each class has (or the mean of numbers),
one of their content where the source knows it without decoding, and the names, sizes and digests of the files that are
read. Paths and dates are not looked at: data
may be moved.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError, some
from jtransfer.data import Source
from jtransfer.data.source import spread
from jtransfer.objectives import TARGET
from jtransfer.runs import json_file, stored
from jtransfer.runs.file_digest import digests, of_file
from jtransfer.runs.json_file import Damaged
from jtransfer.runs.stream import Stream

FILE = "data.json"
VERSION = 1
_MOST = 100_000  # examples of a split that are looked at; of more, as many, evenly spread
_FEW = 5_000  # labels of such a split, which may have to be read one by one
_LISTED = 1_000  # files that are listed; of more there is one digest
_WORDS = {"labels": "their labels", "content": "their content"}


def of(streams: Mapping[str, Stream]) -> dict[str, Any]:
    """Returns what tells the data of some streams from others, as `data.json` holds it."""
    found = {
        name: {
            "class_names": [str(one) for one in stream.whole["train"].class_names],
            "splits": {split: of_split(source) for split, source in stream.whole.items()},
        }
        for name, stream in streams.items()
    }
    return {"version": VERSION, "streams": found}


def of_split(source: Source) -> dict[str, Any]:
    """Returns what tells the examples of a split from others."""
    files = digests(source.files)
    listed = files if len(files) <= _LISTED else {f"{len(files)} files": _digest(sorted(files.items()))}
    found = {"examples": len(source), "label_kind": source.label_kind, "files": listed}
    if source.label_kind in ("class", "number", "classes"):
        found["labels"] = _digest(_labels(source))
        found |= _summary(source)
    if source.fingerprint is not None:
        found["content"] = _digest([source.fingerprint(i) for i in spread(len(source), _MOST)])
    return found


def check(workdir: str | os.PathLike, streams: Mapping[str, Stream]) -> dict[str, Any]:
    """Compares data with those that the run in a folder was begun with, if there is one; returns what `of` does.

    Of a run that was begun before this was kept, the names of the classes are compared.

    Raises:
      InputError: they are others, or the processes of this run have different ones.
    """
    found = of(streams)
    _check_processes(found)
    folder = epath.Path(workdir)
    if before := kept(folder):
        changed = [
            line
            for name, stream in found["streams"].items()
            for line in _changes(before.get(name, {}), stream, "data" if name == TARGET else f"streams.{name}.data")
        ]
    elif whole_file.problem(folder / stored.CLASSES):
        return found
    else:
        changed = _changes_of_names(_known_classes(folder), found["streams"][TARGET]["class_names"], "data")
    if changed:
        raise InputError(
            f"{workdir} was begun with other data: {'; '.join(changed)}. Put them back as they were, or begin in "
            f"another workdir, with init={os.fspath(workdir)!r} to go on from what was learnt"
        )
    return found


def keep(workdir: str | os.PathLike, found: Mapping[str, Any], files: Sequence[str] = ()) -> None:
    """Writes `data.json`, unless it is there. Process 0 writes.

    Args:
      workdir: the run's folder.
      found: what `check` has returned.
      files: the names of files in the folder that are kept with the run, such as a tokenizer's, if they are there.
    """
    path = epath.Path(workdir) / FILE
    if jax.process_index() == 0 and whole_file.problem(path) == "is missing":
        held = {name: digest for name in files if (digest := of_file(os.path.join(workdir, name)))}
        json_file.write(path, {**found, "kept": held})


def check_kept(workdir: str | os.PathLike) -> None:
    """Compares the files that are kept with a run, such as a tokenizer's, with what they were.

    Where all are gone, the run reads those that lie beside its init.

    Raises:
      InputError: one is gone or changed.
    """
    path = epath.Path(workdir) / FILE
    try:
        held = json_file.read(path).get("kept")
    except InputError:
        return
    if not isinstance(held, dict) or "://" in os.fspath(workdir):
        return
    if not any(os.path.lexists(os.path.join(workdir, name)) for name in held):
        return
    for name, before in held.items():
        if of_file(os.path.join(workdir, name)) != before:
            raise InputError(f"{path.parent / name} is not what the run was trained with; put a copy of it back")


def changes(workdir: str | os.PathLike, split: str, source: Source) -> str:
    """Returns a line on how the examples of a split of the target differ from those that a run was begun with.

    Returns "" where they are the same, or where that can't be told.

    Args:
      workdir: the run's folder.
      split: "train", "validation" or "test".
      source: the examples.
    """
    try:
        stream = kept(workdir).get(TARGET, {})
    except InputError:
        return ""
    before = stream.get("splits", {}).get(split)
    if before is None:
        return ""
    lines = _changes_of_names(stream.get("class_names"), [str(name) for name in source.class_names], "data")
    lines += _changes_of_split(before, of_split(source), f"data.{split}")
    return f"warning: the data are not those that the run was begun with: {'; '.join(lines)}" if lines else ""


def kept(workdir: str | os.PathLike) -> dict[str, Any]:
    """Returns stream → what tells the data that a run was begun with; none where it isn't kept, or by a later version.

    Raises:
      InputError: the file is damaged.
    """
    path, remedy = (
        epath.Path(workdir) / FILE,
        "put a copy of it back, or move it away, and the run takes its data as they are",
    )
    if whole_file.problem(path) == "is missing":
        return {}
    try:
        found = json_file.read(path)
    except Damaged as error:
        raise Damaged(f"{error}; {remedy}") from None
    streams = found.get("streams")
    whole = isinstance(streams, dict) and all(
        isinstance(stream, dict)
        and isinstance(stream.get("class_names"), list)
        and isinstance(stream.get("splits"), dict)
        and all(isinstance(split, dict) and isinstance(split.get("files"), dict) for split in stream["splits"].values())
        for stream in streams.values()
    )
    if type(found.get("version")) is not int or not whole:
        raise Damaged(f"{path} is damaged: it does not hold what tells data from others; {remedy}")
    return streams if found["version"] == VERSION else {}


def _known_classes(folder: epath.Path) -> list[str] | None:
    try:
        return stored.classes(folder).names
    except InputError:  # it is written anew
        return None


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    lines = _changes_of_names(old.get("class_names"), new["class_names"], where)
    for split in sorted({*old.get("splits", {}), *new["splits"]}):
        before, after = (one.get("splits", {}).get(split) for one in (old, new))
        if before is not None and after is not None:
            lines += _changes_of_split(before, after, f"{where}.{split}")
    return lines


def _changes_of_names(old: Sequence[str] | None, new: Sequence[str], where: str) -> list[str]:
    if old is None or list(old) == list(new):
        return []
    gone, added = ([repr(name) for name in a if name not in b] for a, b in ((old, set(new)), (new, set(old))))
    parts = [f"{some(gone)} gone"] * bool(gone) + [f"{some(added)} new"] * bool(added)
    return [f"{where}: the classes are others ({', '.join(parts) or 'in another order'})"]


def _changes_of_split(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    if old.get("examples") != new["examples"]:
        return [f"{where}: {old.get('examples')} examples → {new['examples']}", *_changes_of_files(old, new, where)]
    if old.get("label_kind") != new["label_kind"]:
        return [f"{where}: labels of the kind {old.get('label_kind')!r} → {new['label_kind']!r}"]
    changed = [words for name, words in _WORDS.items() if name in old and name in new and old[name] != new[name]]
    lines = [f"{where}: of the {new['examples']} examples {' and '.join(changed)} changed"] if changed else []
    return lines + _changes_of_files(old, new, where)


def _changes_of_files(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    before, after = old["files"], new["files"]
    if before == after or not before or not after:
        return []
    sorts = {
        "gone": [name for name in before if name not in after],
        "new": [name for name in after if name not in before],
        "changed": [name for name in after if name in before and before[name] != after[name]],
    }
    return [f"{where}: " + ", ".join(f"{some(names)} {word}" for word, names in sorts.items() if names)]


def _labels(source: Source) -> list[bytes]:
    if len(source) <= _MOST:
        return [np.ascontiguousarray(source.labels).tobytes()]
    return [np.asarray(source.read_labels(i, i + 1)).tobytes() for i in spread(len(source), _FEW)]


def _summary(source: Source) -> dict[str, Any]:
    """How many examples each class has, or the mean of numbers, for a report; of very many examples, neither."""
    if not 0 < len(source) <= _MOST:
        return {}
    if source.label_kind == "number":
        return {"mean": float(np.mean(source.labels, dtype=np.float64))}
    if source.label_kind == "classes":
        return {"classes": (source.labels > 0.5).sum(0).tolist()}
    return {"classes": np.bincount(source.labels, minlength=len(source.class_names)).tolist()}


def _digest(parts: Sequence[Any]) -> str:
    held = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else repr(part).encode()
        held.update(len(raw).to_bytes(8, "little") + raw)
    return held.hexdigest()


def _check_processes(found: Mapping[str, Any]) -> None:
    """Refuses processes of one run that have different data."""
    if jax.process_count() == 1:
        return
    own = hashlib.blake2b(json.dumps(found, sort_keys=True).encode(), digest_size=32).digest()
    every = np.asarray(multihost_utils.process_allgather(np.frombuffer(own, np.uint8)))
    if others := [str(number) for number, one in enumerate(every) if (one != every[0]).any()]:
        raise InputError(f"the data of process {some(others)} are not those of process 0; give all processes the same")
