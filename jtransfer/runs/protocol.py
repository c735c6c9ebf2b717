"""By what a run's model is chosen: which scores decide, and what a result says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.evaluators.label_free import OF_RISKS, SCORES, SOURCE
from jtransfer.objectives import TARGET

Run = Any  # build.Run

LAST, VALIDATION, ORACLE, UNSELECTED = "last", "validation", "oracle", "unselected"
CHOICES = ("best", LAST, ORACLE, *SCORES)
"""What `config.model_selection` may be."""

NEED_SOURCE = (SOURCE, *OF_RISKS)

TOLD = {
    LAST: "the last step",
    VALIDATION: "the best by the validation split",
    ORACLE: "the best by labels of the target that training does not use (oracle)",
    SOURCE: "the best by the validation splits of the labelled streams",
    UNSELECTED: "the model of its step, which nothing has chosen",
    **{name: f"the best by {name}, without a label of the target" for name in SCORES if name != SOURCE},
}


def decides(run: Run) -> str:
    """Returns what decides which checkpoint is the best: VALIDATION, the target's validation split; ORACLE, the same
    where training does not use the target's labels; one of `SCORES`; or "", nothing."""
    named = run.config.model_selection
    held = VALIDATION in run.target.sources
    if named in SCORES:
        return named
    if TARGET in run.labelled:
        return VALIDATION if held else ""
    if named == ORACLE:
        return ORACLE
    return SOURCE if _has_source(run) else ""


def scores(run: Run) -> tuple[str, ...]:
    """Returns the scores without labels of the target that are to be computed: the one that decides, and that of the
    labelled streams where labels of the target are not learned from."""
    decided, sources = decides(run), TARGET not in run.labelled and _has_source(run)
    asked = (decided if decided in SCORES else "", SOURCE if sources else "")
    return tuple(dict.fromkeys(name for name in asked if name))


def of(run: Run) -> str:
    """Returns the protocol of the run's results: what `decides`, or LAST where the last checkpoint is the model."""
    return LAST if run.config.model_selection == LAST else decides(run) or LAST


def check(run: Run) -> None:
    """Checks that what is to decide is there.

    Raises:
      InputError: It is not.
    """
    named, patience = run.config.model_selection, run.config.early_stop.patience
    if (metric := run.config.early_stop.metric) and named in SCORES and named != SOURCE:
        raise InputError(
            f"model_selection={named!r} and early_stop.metric={metric!r} both name what decides; leave out the latter"
        )
    if named == ORACLE and VALIDATION not in run.target.sources:
        raise InputError("model_selection='oracle' needs data.validation, whose labels choose the model")
    if patience and not decides(run):
        names = ", ".join(name for name in SCORES if name not in NEED_SOURCE)
        raise InputError(
            "early_stop needs data.validation, such as data.train='train[:90%]', validation='train[90%:]'"
            if TARGET in run.labelled
            else "early_stop needs what decides without labels of the target: a labelled stream with data.validation, "
            f"or model_selection as one of {names}"
        )


def told(run: Run) -> str:
    """Returns a line on what chooses the model where labels of the target are not learned from and the config leaves it
    open; "" elsewhere."""
    if TARGET in run.labelled or run.config.model_selection != "best":
        return ""
    how = TOLD[decides(run) or LAST]
    others = ", ".join(name for name in SCORES[1:] if _has_source(run) or name not in NEED_SOURCE)
    oracle = ", or by the target's labels as 'oracle'" if VALIDATION in run.target.sources else ""
    return (
        f"model_selection: labels of the target are not learned from, and so do not choose the model, which is {how}; "
        f"choose by {others}{oracle}"
    )


def told_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns what chose the model of the last result on the test split in a log, as words; "" in those of earlier
    versions, which do not say it."""
    found = (line.get("protocol", "") for line in reversed(lines) if line.get("split") == "test")
    return TOLD.get(next(found, ""), "")


def _has_source(run: Run) -> bool:
    """Whether there is a labelled stream of the target's task that has a validation split."""
    return any(
        name in run.labelled and VALIDATION in stream.sources and stream.task_name == run.target.task_name
        for name, stream in run.streams.items()
        if name != TARGET
    )
