"""Writes what a comparison has found: tables, predictions, plot and page."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from jtransfer.comparing import curves, figure, flips, outcomes, page, table, winner, words
from jtransfer.comparing import held as examples
from jtransfer.comparing.flips import Flip
from jtransfer.comparing.held import Held
from jtransfer.comparing.outcomes import Outcome
from jtransfer.comparing.plan import Plan
from jtransfer.comparing.table import Row
from jtransfer.comparing.words import Found
from jtransfer.core import whole_file
from jtransfer.runs import json_file
from jtransfer.runs import open as open_run

TABLE, RESULTS, ROWS = "table.txt", "results.json", "table.csv"
FLIPS, PREDICTIONS, PLOT, PAGE = "flips.csv", "predictions.npz", "plot.png", "report.html"


def write(plan: Plan) -> Found:
    """Writes all files of a comparison whose runs are done, and returns what they say.

    Raises:
      InputError: A run is not done, or does not fit the others.
    """
    task, folder = outcomes.task_of(plan), epath.Path(plan.folder)
    metric, held = outcomes.metric_of(plan, task), examples.opened(plan)
    gathered = outcomes.gather(plan, held, task, metric)
    rows = table.rows(plan, gathered, held, metric)
    savings = curves.savings(plan, gathered, held, metric)
    modality = open_run(outcomes.first_done(plan)).modality
    flipped = flips.flips(plan, gathered, held, modality.show)
    kept = _predictions(gathered, held)
    whole_file.write(folder / PREDICTIONS, lambda file: np.savez(file, **kept))
    tested = winner.tested(plan, winner.best(gathered, metric), metric)
    found = Found(plan, metric, held, rows, savings, flipped, tested)
    whole_file.write(folder / TABLE, ("\n".join(words.lines(found)) + "\n").encode())
    whole_file.write(folder / ROWS, _csv(Row._fields, rows))
    whole_file.write(folder / FLIPS, _csv(Flip._fields, flipped))
    json_file.write(folder / RESULTS, _plain(_told(found)))
    drawn = figure.draw(rows, metric, style=False)
    whole_file.write(folder / PLOT, lambda file: drawn.savefig(file, format="png", dpi=150))
    whole_file.write(folder / PAGE, page.render(found, modality).encode())
    return found


def _predictions(gathered: Sequence[Outcome], held: Held) -> dict[str, Any]:
    """The predictions of all settings: "SETTING/seed=0", and "/labels=5" of a curve; with `index` and `label`."""
    found: dict[str, Any] = {"index": np.arange(len(held.whole), dtype=np.int64)}
    if held.labels is not None:
        found["label"] = held.labels
    for one in gathered:
        for seed, made in one.tables.items():
            name = f"{one.name}/seed={seed}" + (f"/labels={one.labels}" if one.labels else "")
            found[name] = made["probs" if "probs" in made else "logits"]
    return found


def _told(found: Found) -> dict[str, Any]:
    plan = found.plan
    return {
        "metric": found.metric.name,
        "less_is_better": found.metric.less_is_better,
        "baseline": plan.variations[0].name,
        "protocol": words.protocol(plan),
        "examples": len(found.held.whole),
        **{name: getattr(plan, name) for name in ("seeds", "folds", "drawn", "group", "labels")},
        "rows": [row._asdict() for row in found.rows],
        "savings": [one._asdict() for one in found.savings],
        "tested": found.tested._asdict(),
    }


def _plain(value: Any) -> Any:
    """What JSON can say: None for a number that is none, "inf" for one without end."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def _csv(heads: Sequence[str], rows: Sequence[tuple]) -> bytes:
    file = io.StringIO()
    made = csv.writer(file, lineterminator="\n")
    made.writerow(heads)
    made.writerows(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    return file.getvalue().encode()
