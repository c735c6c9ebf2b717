"""What is wrong with the splits of a run's data: classes that are missing, examples that are in two of them."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.data import Source
from jtransfer.data.source import spread
from jtransfer.runs.stream import Stream

_MOST = {"labels": 100_000, "fingerprints": 1_000_000, "texts": 50_000, "arrays": 1_000}  # of a split, looked at
_FEW = 5_000  # labels that are looked at of larger splits


def check(stream: Stream, where: str) -> list[str]:
    """Returns lines that are printed before training: what was passed over in reading, and what is odd of the splits.

    Args:
      stream: The stream.
      where: The config's section of its data, "data" for the target.

    Raises:
      InputError: All examples to train on are of one class, or none of a split to evaluate on is of a class that is
        trained on.
    """
    sources = stream.whole
    names = {split: f"{where}.{split}={stream.data[split]!r}" for split in sources}
    lines = list(dict.fromkeys(note for source in sources.values() for note in source.notes))
    if sources["train"].label_kind == "class" and stream.task.label_kinds:
        lines += _classes(sources, names)
    return lines + _alike(sources["train"].class_names)


def _classes(sources: Mapping[str, Source], names: Mapping[str, str]) -> list[str]:
    lines, known = [], sources["train"].class_names
    counts = {split: np.bincount(_labels(source), minlength=len(known)) for split, source in sources.items()}
    whole = all(len(sources[split]) == count.sum() for split, count in counts.items())
    trained = np.flatnonzero(counts.pop("train"))
    cut = "data that are sorted by class are cut with 'stratified(:80%)' and 'stratified(80%:)'"
    if len(trained) == 1 and whole:
        raise InputError(
            f"{names['train']}: all examples are of the class {known[trained[0]]!r}, and training needs two classes; "
            f"{cut}"
        )
    for split, count in counts.items():
        found = np.flatnonzero(count)
        missing = np.setdiff1d(found, trained)
        listed = some([repr(known[k]) for k in missing])
        if len(missing) == len(found):
            raise InputError(f"{names[split]} has none of the classes of {names['train']}, only {listed}; {cut}")
        if len(missing) and whole:
            lines.append(
                f"{names[split]}: {count[missing].sum()} of {count.sum()} examples are of classes that "
                f"{names['train']} has none of: {listed}; {cut}"
            )
        if len(found) == 1 and whole:
            lines.append(f"{names[split]}: all {count.sum()} examples are of the class {known[found[0]]!r}")
    return lines


def _labels(source: Source) -> np.ndarray:
    """The classes of all examples; of a large split, which may have to be read for them, those of a few."""
    if len(source) <= _MOST["labels"]:
        return source.labels
    few = np.concatenate([source.read_labels(i, i + 1) for i in spread(len(source), _FEW)])
    return few if few.min() >= 0 else source.labels  # which says what is wrong


def _alike(class_names: list[str]) -> list[str]:
    """A line on names of classes that differ by case or spaces only."""
    same: dict[str, list[str]] = {}
    for name in class_names:
        same.setdefault(" ".join(name.casefold().replace("_", " ").split()), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in same.values() if len(names) > 1]
    return [f"classes whose names are almost the same: {some(alike)}; rename them if they are one"][: len(alike)]


def overlaps(stream: Stream, where: str) -> list[str]:
    """Returns a line for each two splits that have examples in common, chosen twice or of the same content.

    Examples are compared by fingerprints; of very large splits only some of them, evenly spread, which the line says.
    """
    lines = []
    prints = {split: _prints(source) for split, source in stream.whole.items()}
    for first, second in itertools.combinations(stream.whole, 2):
        one, other = stream.whole[first], stream.whole[second]
        chosen = 0 if one.numbers is None or other.numbers is None else int(np.isin(other.numbers, one.numbers).sum())
        held = set(prints[first])
        same = sum(count for key, count in Counter(prints[second]).items() if key in held)
        if common := max(chosen, same):
            part = chosen < same and (len(prints[first]) < len(one) or len(prints[second]) < len(other))
            looked = len(prints[second]) if part else len(other)
            sample = f" (compared: {looked:,} of {len(other):,} with {len(prints[first]):,} of {len(one):,})" * part
            lines.append(
                f"{where}.{second}={stream.data[second]!r}: {common} of {looked} examples are also in "
                f"{where}.{first}={stream.data[first]!r}{sample}, so its score is not that of new examples"
            )
    return lines


def common(one: Source, other: Source) -> tuple[int, int, int]:
    """Returns how many examples of a data set are also in another, and how many of each were compared.

    They are the same if their fingerprints or their contents are, whatever their labels. Of large data sets some
    examples are compared, evenly spread.
    """
    ways = [_contents] if one.fingerprint is None or other.fingerprint is None else [_contents, _prints]
    found = []
    for prints in ways:
        ours, theirs = prints(one), prints(other)
        held = set(theirs)
        found.append((sum(key in held for key in ours), len(ours), len(theirs)))
    return max(found)


def _contents(source: Source) -> list[bytes]:
    texts = all(isinstance(value, str | list) for name, value in source[0].items() if name != "label")
    return [_digest(source[i]) for i in spread(len(source), _MOST["texts" if texts else "arrays"])]


def _prints(source: Source) -> list[Any]:
    if source.fingerprint is not None:
        return [source.fingerprint(i) for i in spread(len(source), _MOST["fingerprints"])]
    return _contents(source)


def _digest(example: Mapping[str, Any]) -> bytes:
    held = hashlib.blake2b(digest_size=16)
    for name in sorted(example.keys() - {"label"}):
        value = example[name]
        held.update(f"{name} {getattr(value, 'shape', '')}".encode())
        held.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return held.digest()
