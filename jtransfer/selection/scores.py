"""The table of scores by which sources are compared, and what each of them is given."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.core.registry import Registry

SCORES = Registry(
    "score",
    {
        "leep": "jtransfer.selection.agreement:leep",
        "nce": "jtransfer.selection.agreement:nce_of_predictions",
        "h_score": "jtransfer.selection.separation:h_score",
        "h_score_lw": "jtransfer.selection.separation:regularized_h_score",
        "logme": "jtransfer.selection.evidence:logme",
        "transrate": "jtransfer.selection.separation:transrate",
        "gbc": "jtransfer.selection.separation:gbc_reduced",
        "knn": "jtransfer.selection.accuracies:knn_hits",
        "linear_probe": "jtransfer.selection.accuracies:linear_probe_hits",
    },
)
OF_NUMBERS = ("logme", "linear_probe")  # those that take labels which are numbers, or several of them
GIVEN = ("features", "source_probs", "labels")  # the names of arguments by which a score says what it is given


def usual(label_kind: str) -> tuple[str, ...]:
    """Returns the names of the scores for labels of a kind, "class", "number" or "classes"."""
    return tuple(SCORES) if label_kind == "class" else OF_NUMBERS


def needs(name: str) -> tuple[str, ...]:
    """Returns the names of the arguments that a score is given, of `GIVEN`.

    A score of the user's, at an address, is a function of arguments of these names, such as `mine(features, labels)`.
    It returns a number, the greater the better; or the value of each example, whose mean is the score.

    Raises:
      InputError: There is no such score, or it has an argument without a default that is none of these.
    """
    score = SCORES[name]
    if not callable(score):
        raise InputError(f"score {name!r} is no function; give one of {', '.join(GIVEN)}")
    try:
        found = inspect.signature(score).parameters.values()
    except (TypeError, ValueError):
        raise InputError(f"score {name!r} does not tell its arguments; give a function of Python") from None
    required = [p.name for p in found if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if other := [one for one in required if one not in GIVEN]:
        raise InputError(f"score {name!r} has an argument {other[0]!r}; a score is given {', '.join(GIVEN)}")
    return tuple(p.name for p in found if p.name in GIVEN)


def compute(name: str, given: Mapping[str, np.ndarray]) -> Any:
    """Returns what a score gives: a number, or float64 `[N]`, whose mean is the score.

    Args:
      name: Of the score.
      given: Name of an argument → array; `[N, …]` each.

    Raises:
      InputError: What the score says of its input, or that it gives no finite number.
    """
    score: Callable[..., Any] = SCORES[name]
    value = np.asarray(score(**{one: given[one] for one in needs(name)}))
    fits = value.dtype.kind in "fiub" and value.shape in ((), (len(given["labels"]),))
    if not fits or not np.isfinite(value).all():
        raise InputError(f"score {name!r} gives {value!s:.60}; a finite number is needed, or one for each example")
    return value.astype(np.float64)
