"""Baselines that need no model: what is most frequent, and a linear model of what the examples are made of."""

from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.show import one_line
from jtransfer.data import Source
from jtransfer.data.source import spread
from jtransfer.runs import fingerprint, predictions
from jtransfer.runs.open import StoredRun
from jtransfer.runs.verdicts import FOLDER

KINDS = ("class", "classes", "number")
MOST = 10_000  # examples of a split that are looked at
SECONDS = 10.0  # that the baselines may take, whatever the run's time
_TRIED = 16  # examples, whose reading tells how long all would take
_CONSTANT, _LINEAR = "constant", "linear"
_TAGS = "tags"
_NAMES = {"class": "logistic regression", "classes": "logistic regression", "number": "ridge regression"}

Table = Mapping[str, np.ndarray]


class Baseline(NamedTuple):
    """What a baseline predicts.

    Attributes:
      name: of the baseline, with what it is fitted to.
      table: `logits`, `label` and `index` of examples of the test split.
    """

    name: str
    table: Table


class LeftOut(Exception):
    """A baseline was not fitted; the text says why."""


def baselines(run: StoredRun, kept: Table, seconds: float) -> Iterator[Baseline | str]:
    """Yields baselines, fitted to training examples of a run, on the examples that the run has predictions of.

    What a baseline predicts is kept in the run's folder, and is read from there another time.

    Args:
      run: the run.
      kept: its predictions, with `label` and `index`.
      seconds: that all baselines may take.

    Yields:
      A baseline, or a line on one that there is not, and why.
    """
    kind = next((one for one in run.task.label_kinds if one in (*KINDS, _TAGS)), "")
    if not kind:
        yield f"no trivial baseline is known for task={run.config.task!r}"
        return
    deadline = monotonic() + max(seconds, SECONDS)
    ways = {_CONSTANT: _of_tags} if kind == _TAGS else {_CONSTANT: _constant, _LINEAR: _of_features}
    for which, make in ways.items():
        folder = run.folder / FOLDER / which
        try:
            if found := _read(folder, kept):
                yield found
                continue
            made = make(run, kind, _chosen(kept), deadline)
        except Exception as error:  # of a user's data, or their modality; the run itself is complete
            yield one_line(f"{_words(which, kind)} was not compared: {error or type(error).__name__}", 500)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        predictions.write(folder, {**made.table, "name": np.array([made.name] * len(made.table["index"]))})
        yield made


def _words(which: str, kind: str) -> str:
    return _NAMES[kind] if which == _LINEAR else "the most frequent answer"


def _read(folder: Any, kept: Table) -> Baseline | None:
    """What a baseline predicted another time, if it is of examples that the run has predictions of."""
    table = predictions.read(folder)
    if "name" not in table or not np.isin(table["index"], kept["index"]).all():
        return None
    return Baseline(str(table["name"][0]), {name: array for name, array in table.items() if name != "name"})


def _chosen(kept: Table) -> Table:
    """A few of the examples, evenly spread."""
    rows = np.array(spread(len(kept["index"]), MOST))
    return {name: kept[name][rows] for name in ("index", "label")}


def _unchanged(run: StoredRun, split: str) -> Source:
    source = run.source(split)
    if line := fingerprint.changes(run.folder, split, source):
        raise LeftOut(line)
    return source


def _constant(run: StoredRun, kind: str, chosen: Table, deadline: float) -> Baseline:
    """The shares of the classes among the training examples, or the median of their numbers."""
    labels = _unchanged(run, "train").labels
    n, names = len(chosen["index"]), run.class_names
    if kind == "number":
        middle = float(np.median(labels))
        return Baseline(f"the median, {middle:.4g}, for every example", {**chosen, "logits": np.full((n, 1), middle)})
    if kind == "classes":
        shares = np.clip((labels > 0.5).mean(0), 1e-6, 1 - 1e-6)
        logits = np.broadcast_to(np.log(shares / (1 - shares)), (n, len(shares)))
        return Baseline("the classes that most examples have", {**chosen, "logits": logits.astype(np.float32)})
    shares = np.maximum(np.bincount(labels, minlength=len(names)) / len(labels), 1e-6)
    logits = np.broadcast_to(np.log(shares), (n, len(shares)))
    often = one_line(str(names[int(shares.argmax())]))
    return Baseline(
        f"the most frequent class, {often!r}, for every example", {**chosen, "logits": logits.astype(np.float32)}
    )


def _of_tags(run: StoredRun, kind: str, chosen: Table, deadline: float) -> Baseline:
    """The most frequent class of a word among training examples, for every word."""
    source = _unchanged(run, "train")
    rows = spread(len(source), MOST)
    _check_time(source, len(rows), deadline)
    labels = np.concatenate([np.asarray(one["label"], np.int64) for one in _examples(source, rows, deadline)])
    often, real = int(np.bincount(labels[labels >= 0]).argmax()), chosen["label"] >= 0
    sums = {"loss": np.zeros(len(real), np.float32), "tokens": real.sum(1), "right": (chosen["label"] == often).sum(1)}
    name = f"the most frequent class, {one_line(str(run.class_names[often]))!r}, for every word"
    return Baseline(name, {**chosen, **sums, "predicted": np.full_like(chosen["label"], often)})


def _of_features(run: StoredRun, kind: str, chosen: Table, deadline: float) -> Baseline:
    """A linear model of features that know of no model."""
    from jtransfer.judging import linear  # and SciPy with it

    source, test = _unchanged(run, "train"), _unchanged(run, "test")
    labels = source.labels
    rows = np.array(spread(len(source), MOST))
    _check_time(source, len(rows) + len(chosen["index"]), deadline)
    examples = _examples(source, rows.tolist(), deadline)
    features = run.modality.plain_features(examples)
    targets, scale, shift = _targets(kind, labels[rows], len(run.class_names))
    try:
        fitted = linear.fit(features.of(examples), targets, kind, deadline)
    except linear.OutOfTime:
        raise LeftOut(_slow("fitting it")) from None
    seen = fitted(features.of(_examples(test, chosen["index"].tolist(), deadline))) * scale + shift
    few = "" if len(rows) == len(source) else f" of {len(rows):,} of {len(source):,} training examples"
    return Baseline(f"{_NAMES[kind]} on {features.words}{few}", {**chosen, "logits": seen.astype(np.float32)})


def _targets(kind: str, labels: np.ndarray, classes: int) -> tuple[np.ndarray, float, float]:
    """The targets [N, K], and what a prediction is multiplied by and added to."""
    if kind == "class":
        return np.eye(classes)[labels], 1.0, 0.0
    if kind == "classes":
        return (labels > 0.5).astype(np.float64), 1.0, 0.0
    wide = labels.astype(np.float64)
    mean, std = float(wide.mean()), float(wide.std()) or 1.0
    return ((wide - mean) / std)[:, None], std, mean


def _check_time(source: Source, number: int, deadline: float) -> None:
    began = monotonic()
    tried = spread(len(source), _TRIED)
    for index in tried:
        source[index]
    if began + (monotonic() - began) / len(tried) * number > deadline:
        raise LeftOut(_slow(f"reading {number:,} examples"))


def _examples(source: Source, rows: Sequence[int], deadline: float) -> list[dict]:
    found = []
    for index in rows:
        if monotonic() > deadline:
            raise LeftOut(_slow("reading the examples"))
        found.append(source[index])
    return found


def _slow(what: str) -> str:
    return f"{what} takes more than its share of the run's time; raise config.verdict.trivial"
