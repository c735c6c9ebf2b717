"""What a report says of the data: the sizes of the sets and of each class, and what reading them lost."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.data import Source
from jtransfer.objectives import TARGET
from jtransfer.runs import fingerprint
from jtransfer.runs.open import StoredRun
from jtransfer.runs.stream import SPLITS

LISTED = 500  # classes
_LONGEST = 2000  # characters of a line
_LEAST_LINES = 10  # of notes of a split

Open = Callable[[str], Source | None]  # a split of the target → its examples; None where they are gone


def opener(run: StoredRun) -> Open:
    """Returns what opens each split of the run's data once; where it can't, that is told once."""
    found: dict[str, Source | None] = {}
    told: set[str] = set()

    def once(split: str) -> Source | None:
        if split not in found:
            found[split] = _opened(run, split, told)
        return found[split]

    return once


def _opened(run: StoredRun, split: str, told: set[str]) -> Source | None:
    try:
        source = run.source(split)
        line = fingerprint.changes(run.folder, split, source)
    except Exception as error:
        source, line = None, one_line(f"no examples, the data cannot be opened: {error}", _LONGEST)
    if line and line not in told:
        told.add(line)
        say(f"report: {line}", file=sys.stderr)
    return source


def describe(run: StoredRun, opened: Open, predictions: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns "sets": a row for each split of each data set, one for each class of the target, what a modality counts
    of each split, and what reading a split has noted.

    Args:
      run: The run.
      opened: From `opener`.
      predictions: The arrays of `predictions.npz`.
    """
    try:
        streams = fingerprint.kept(run.folder)
    except InputError:
        streams = {}
    splits = [
        {"data": name, "split": split, "part": _part(run, name, split), "examples": held.get("examples")}
        for name, stream in streams.items()
        for split, held in _sorted(stream.get("splits", {})).items()
    ]
    if not splits and "label" in predictions:
        splits = [
            {"data": TARGET, "split": "test", "part": run.config.data.test, "examples": len(predictions["label"])}
        ]
    named = [split for split in SPLITS if run.config.data[split]]
    return {
        "sets": {
            "splits": splits,
            **_classes(run, streams.get(TARGET, {}).get("splits", {}), predictions),
            "counts": [(split, found) for split in named if (found := _counts(run, opened(split)))],
            "notes": [(split, notes) for split in named if (notes := _notes(opened(split)))],
        }
    }


def _sorted(splits: Mapping[str, Any]) -> dict[str, Any]:
    known = [split for split in SPLITS if split in splits]
    return {split: splits[split] for split in (*known, *(split for split in splits if split not in SPLITS))}


def _part(run: StoredRun, stream: str, split: str) -> str:
    section = run.config.data if stream == TARGET else run.config.streams.get(stream, {}).get("data", {})
    found = section.get(split, "")
    return found if isinstance(found, str) else ""


def _classes(run: StoredRun, splits: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The number of examples of each class in each split where it is known."""
    counts = {
        split: held["classes"] for split, held in _sorted(splits).items() if isinstance(held.get("classes"), list)
    }
    label = predictions.get("label")
    if "test" not in counts and label is not None and label.ndim == 1 and label.dtype.kind in "iu":
        counts["test"] = np.bincount(label[label >= 0]).tolist()
    if not counts:
        return {"class_splits": [], "classes": [], "class_count": 0}
    names = [one_line(str(name)) for name in run.class_names]
    rows = [
        {"name": name, "counts": [found[i] if i < len(found) else 0 for found in counts.values()]}
        for i, name in enumerate(names[:LISTED])
    ]
    return {"class_splits": list(counts), "classes": rows, "class_count": len(names)}


def _counts(run: StoredRun, source: Source | None) -> dict[str, float]:
    try:
        return {} if source is None else run.modality.counts(source, run.task, run.model)
    except Exception as error:  # of data that are others now, or of files that are gone
        say(one_line(f"report: the examples are not counted: {error}", _LONGEST), sys.stderr)
        return {}


def _notes(source: Source | None) -> list[str]:
    return [] if source is None else [one_line(note, _LONGEST) for note in getattr(source, "notes", ())][:_LEAST_LINES]
