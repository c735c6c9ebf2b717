"""Where a model errs and how sure it is of itself: what a report shows of a run's predictions."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from jtransfer import metrics
from jtransfer.core.show import one_line, say
from jtransfer.metrics import proper_scores
from jtransfer.reporting import figures, sets
from jtransfer.reporting.pictures import data_uri
from jtransfer.reporting.sets import Open
from jtransfer.runs.open import StoredRun

MISTAKES = 24  # pictures
CELLS = 40  # classes of a confusion matrix that is a table; more make a picture
DOTS = 400  # classes of a picture; of more, the most frequent mistakes alone are shown
LISTED = 500  # classes, those with the lowest F1
PAIRS = 8  # most frequent mistakes; three times as many where there is no matrix
SAID = 2000  # characters of a text
_LONGEST = 2000  # characters of a line


def describe(run: StoredRun, predictions: Mapping[str, np.ndarray], opened: Open | None = None) -> dict[str, Any]:
    """What the report says of a run's predictions, in the sections that the run's task has.

    Args:
      run: the run.
      opened: what opens a split, from `sets.opener`; None makes one.
      predictions: the arrays of `predictions.npz`; none where there was no evaluation yet.
    """
    parts = {"classes": (_classes, "probs"), "numbers": (_numbers, "logits"), "texts": (_texts, "written")}
    found = {
        "classes": [],
        "listed": 0,
        "confusion": [],
        "matrix": None,
        "pairs": [],
        "mistakes": [],
        "calibration": None,
    }
    found |= {"furthest": [], "written": []}
    for section in run.task.sections:
        make, needed = parts[section]
        if needed in predictions:
            found |= make(run, predictions, opened or sets.opener(run))
    return found


def shown(found: Mapping[str, Any]) -> dict[int, int]:
    """Returns example → the output that its attribution is of, of all examples that `describe` shows."""
    return {row["index"]: row["output"] for row in (*found["mistakes"], *found["furthest"])}


def _classes(run: StoredRun, predictions: Mapping[str, np.ndarray], opened: Open) -> dict[str, Any]:
    """How often each class is right, what it is taken for, and how sure the model is of itself."""
    probs, label = predictions["probs"], predictions["label"]
    predicted, number = probs.argmax(1), probs.shape[1]
    names = _named(run.class_names, number)
    calibration = metrics.calibration(probs, label)
    per_class = metrics.per_class(predicted, label, number)
    lowest = np.lexsort((per_class.f1, per_class.support == 0))[:LISTED] if number > LISTED else np.arange(number)
    return {
        "classes": [
            {"name": names[i], **{key: values[i].item() for key, values in per_class._asdict().items()}} for i in lowest
        ],
        "listed": number,
        "pairs": _pairs(predicted, label, names),
        **_matrix(predicted, label, number, names),
        "mistakes": _mistakes(run, names, predictions, opened),
        "calibration": {
            "figure": Markup(figures.reliability(calibration)),
            "ece": calibration.ece,
            "bias": proper_scores.bias_of_ece(probs),
            "confidence": probs.max(1).mean().item(),
            "accuracy": (predicted == label).mean().item(),
        },
    }


def _named(names: Sequence[str], number: int) -> list[str]:
    """The names that are known, and the number of each class that has none."""
    return [one_line(str(name)) for name in names] + [str(i) for i in range(len(names), number)]


def _matrix(predicted: np.ndarray, label: np.ndarray, number: int, names: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix, as a table of counts and shares or as a picture; of very many classes there is none."""
    if number > DOTS:
        return {}
    counts = metrics.confusion(predicted, label, number)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    if number > CELLS:
        return {"matrix": Markup(figures.matrix(shares, names))}
    return {"confusion": [list(zip(*row, strict=True)) for row in zip(counts.tolist(), shares.tolist(), strict=True)]}


def _pairs(predicted: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> list[dict]:
    """The most frequent mistakes."""
    true, chosen, counts = metrics.pairs(predicted, label, len(classes))
    wrong, support = np.flatnonzero(true != chosen), np.bincount(label, minlength=len(classes))
    worst = wrong[np.argsort(-counts[wrong], kind="stable")][: PAIRS if len(classes) <= DOTS else 3 * PAIRS]
    return [
        {"true": classes[i], "predicted": classes[j], "count": count, "share": count / max(support[i].item(), 1)}
        for i, j, count in zip(true[worst].tolist(), chosen[worst].tolist(), counts[worst].tolist(), strict=True)
    ]


def _mistakes(
    run: StoredRun, classes: Sequence[str], predictions: Mapping[str, np.ndarray], opened: Open
) -> list[dict]:
    """The wrong predictions with the highest probability, with their pictures while the data is still there."""
    probs, label, index = (predictions[key] for key in ("probs", "label", "index"))
    wrong = np.flatnonzero(probs.argmax(1) != label)
    worst = wrong[np.argsort(-probs[wrong].max(1), kind="stable")][:MISTAKES]
    shown_of = _examples(run, opened)
    return [
        {
            **shown_of(int(index[i])),
            "index": int(index[i]),
            "output": int(probs[i].argmax()),
            "predicted": classes[int(probs[i].argmax())],
            "probability": probs[i].max().item(),
            "true": classes[int(label[i])],
            "true_probability": probs[i, label[i]].item(),
        }
        for i in worst
    ]


def _numbers(run: StoredRun, predictions: Mapping[str, np.ndarray], opened: Open) -> dict[str, Any]:
    """The examples whose predicted numbers are furthest from the true ones."""
    predicted, label = predictions["logits"][:, 0], predictions["label"]
    worst = np.argsort(-np.abs(predicted - label), kind="stable")[:MISTAKES]
    shown_of = _examples(run, opened)
    rows = [
        {
            **shown_of(index := int(predictions["index"][i])),
            "index": index,
            "output": 0,
            "predicted": f"{predicted[i]:.3f}",
            "true": f"{label[i]:.3f}",
        }
        for i in worst
    ]
    return {"furthest": rows}


def _texts(run: StoredRun, predictions: Mapping[str, np.ndarray], opened: Open) -> dict[str, Any]:
    """Texts, what was wanted, and what the model generated for them."""
    names = ("text", "target", "written")
    rows = zip(*([_said(text) for text in predictions[name][:MISTAKES].tolist()] for name in names), strict=True)
    return {"written": [dict(zip(names, row, strict=True)) for row in rows]}


def _examples(run: StoredRun, opened: Open) -> Callable[[int], dict]:
    """`index -> {"picture": data URI, "text": str}` of the test split's examples, as the modality shows them; None for
    what one has not, or where the data is gone."""
    nothing = {"picture": None, "text": None}
    source = opened("test")
    try:
        modality = run.modality
    except Exception as error:
        say(one_line(f"report: no examples, they cannot be read: {error}", _LONGEST), sys.stderr)
        return lambda index: nothing
    if source is None:
        return lambda index: nothing

    def example(index: int) -> dict:
        try:
            found = nothing | modality.show(source[index])
            picture = None if found["picture"] is None else data_uri(found["picture"])
            return {"picture": picture, "text": _said(found["text"] or "") or None}
        except Exception as error:
            say(one_line(f"report: example {index} cannot be shown: {error}", _LONGEST), sys.stderr)
            return nothing

    return example


def _said(text: str) -> str:
    return text if len(text) <= SAID else f"{text[:SAID]}…"
