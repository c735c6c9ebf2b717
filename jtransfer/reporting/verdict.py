"""What a report says of whether the transfer helped."""

from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.metrics import SCORE, SHARE
from jtransfer.runs import verdicts
from jtransfer.runs.open import StoredRun

_CLASSES = {verdicts.HELPED: "up", verdicts.HURT: "down"}


def describe(run: StoredRun) -> dict[str, Any]:
    """Returns what the report says, under "verdict": the answer, a row for each comparison, and what was left out."""
    try:
        found = verdicts.read(run.folder)
    except InputError as error:
        return {"verdict": _nothing(str(error))}
    if found is None:
        return {"verdict": _nothing("")}
    if found.predictions != verdicts.digest(run.predictions):
        return {"verdict": _nothing("the run has gone on since it was compared")}
    rows = [_row(run, one) for one in found.compared]
    return {
        "verdict": {
            "word": found.word,
            "rows": rows,
            "left_out": found.left_out,
            "why": "",
            "class": _class(found.word),
        }
    }


def _nothing(why: str) -> dict[str, Any]:
    return {"word": "not compared", "rows": [], "left_out": (), "why": why, "class": ""}


def _class(word: str) -> str:
    return _CLASSES.get(word, "")


def _row(run: StoredRun, one: verdicts.Compared) -> dict[str, Any]:
    metric = run.metric(one.metric)
    factor, unit, digits = (100, " points", 1) if metric.kind in (SHARE, SCORE) else (1, "", 3)

    def written(value: float) -> str:
        return f"{factor * value:+.{digits}f}".replace("-", "\u2212")

    share = "" if one.budget == 1 or one.kind != verdicts.SCRATCH else f", with {one.budget:.0%} of the steps"
    few = "on which too few differ" if one.too_few else ""
    return {
        "word": one.word,
        "class": _class(one.word),
        "name": f"{one.name}{share}",
        "metric": metric.title,
        "kind": metric.kind,
        "run": one.run,
        "baseline": one.baseline,
        "gain": f"{written(one.run - one.baseline)}{unit}",
        "interval": f"{written(one.low)} to {written(one.high)}",
        "examples": one.examples,
        "few": few,
    }
