"""What the runs of a comparison say of each example, side by side: rows are the examples, in one order for all."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from jtransfer import metrics
from jtransfer.comparing import plan as plans
from jtransfer.comparing import work
from jtransfer.comparing.held import Held
from jtransfer.comparing.plan import Cell, Plan
from jtransfer.core.errors import InputError
from jtransfer.runs import open as open_run
from jtransfer.runs import predictions
from jtransfer.tasks import TASKS, Task

Tables = dict[int, dict[str, np.ndarray]]  # seed → arrays [N, …]
Score = Callable[[Mapping[str, np.ndarray], np.ndarray], float]


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """The runs of one setting, with one number of labels.

    Attributes:
      name: Of the setting.
      labels: How many, or 0 for all.
      values: The metric of each run, [seeds, folds], nan where it has failed.
      tables: Seed → what the task keeps of all examples, in their order; none where a run failed or kept nothing.
      per_example: float64 [seeds, N], the metric of each example, where the metric is its mean; else None.
      score: A function from a table and the numbers of some of its rows to the metric.
      seconds: Of all runs together.
    """

    name: str
    labels: int
    values: np.ndarray
    tables: Tables
    per_example: np.ndarray | None
    score: Score
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether there are predictions of every example by every seed."""
        return len(self.tables) == len(self.values)

    @functools.cached_property
    def mean(self) -> float:
        """The metric: of all examples of each seed, the mean over the seeds; or the mean of the runs'."""
        if not self.is_whole:
            return float(self.values.mean())
        if self.per_example is not None:
            return float(self.per_example.mean())
        rows = np.arange(len(next(iter(self.tables.values()))["index"]))
        return float(np.mean([self.score(table, rows) for table in self.tables.values()]))

    @property
    def spread(self) -> float:
        """The standard deviation of the runs' metrics; nan of one run."""
        return float(self.values.std(ddof=1)) if self.values.size > 1 else float("nan")

    def of(self, rows: np.ndarray, seeds: np.ndarray) -> float:
        """Returns the metric of some rows, mean over some of the seeds by their place; both may come several times."""
        if self.per_example is not None:
            return float(self.per_example[seeds][:, rows].mean())
        tables = list(self.tables.values())
        return float(np.mean([self.score(tables[seed], rows) for seed in seeds]))


def metric_of(plan: Plan, task: Task) -> metrics.Metric:
    """Returns the metric by which settings are compared: `early_stop.metric`, or the task's."""
    own = {found.name: found for found in map(metrics.load, plan.config["metrics"])}
    name = plan.config["early_stop"]["metric"] or task.metric
    return own.get(name) or metrics.get(name)


def first_done(plan: Plan) -> epath.Path:
    """Returns the folder of the first run that has come to its end.

    Raises:
      InputError: There is none.
    """
    done = (cell for cell in plans.cells(plan) if "metrics" in (work.result(plan, cell) or {}))
    cell = next(done, None)
    if cell is None:
        raise InputError(f"{plan.folder}: no run has come to its end with finite numbers; lower optim.lr")
    return plans.place(plan, cell)


def task_of(plan: Plan) -> Task:
    """Returns the task of the runs, as the first that is done has it."""
    return TASKS[open_run(first_done(plan)).config.task]


def gather(plan: Plan, held: Held, task: Task, metric: metrics.Metric) -> list[Outcome]:
    """Returns the outcomes of all settings, by numbers of labels and then in the order of the settings.

    Raises:
      InputError: A run is not done, or its predictions are of other examples.
    """
    cells: dict[tuple[int, int], list[Cell]] = {}
    for cell in plans.cells(plan):
        cells.setdefault((cell.labels, cell.variation), []).append(cell)
    names = held.whole.class_names
    return [_outcome(plan, held, cells[key], task, metric, names) for key in sorted(cells)]


def _outcome(
    plan: Plan, held: Held, cells: Sequence[Cell], task: Task, metric: metrics.Metric, names: Sequence[str]
) -> Outcome:
    results = [work.result(plan, cell) for cell in cells]
    if missing := [cell for cell, found in zip(cells, results, strict=True) if found is None]:
        raise InputError(f"{plans.named(plan, missing[0])} is not done; run the same command again")
    values = [(found or {}).get("metrics", {}).get(metric.name, np.nan) for found in results]
    tables: Tables = {}
    for seed in dict.fromkeys(cell.seed for cell in cells):
        own = [cell for cell in cells if cell.seed == seed]
        if (table := _table(plan, held, own, results[cells.index(own[0])])) is not None:
            tables[seed] = table
    score = scorer(task, metric, names)
    first = cells[0]
    shape = (plan.seeds, max(plan.folds, 1))
    return Outcome(
        plan.variations[first.variation].name,
        first.labels,
        np.asarray([np.nan if value is None else value for value in values], np.float64).reshape(shape),
        tables,
        _per_example(tables, metric.name) if len(tables) == plan.seeds else None,
        score,
        sum((found or {}).get("seconds", 0.0) for found in results),
    )


def _table(plan: Plan, held: Held, cells: Sequence[Cell], found: Any) -> dict[str, np.ndarray] | None:
    """What a setting's runs with one seed keep of all examples: each example by the fold that it is in."""
    parts, numbers = [], []
    for cell in cells:
        part = predictions.read(plans.place(plan, cell))
        of_cell = held.numbers(cell)
        if "failed" in (work.result(plan, cell) or {}) or not _is_table(part):
            return None
        if len(part["index"]) != len(of_cell) or (part["index"] != np.arange(len(of_cell))).any():
            raise InputError(f"{plans.named(plan, cell)}: its predictions are of other examples than those compared on")
        parts.append(part)
        numbers.append(of_cell)
    order = np.argsort(np.concatenate(numbers), kind="stable")
    table = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
    table["index"] = np.concatenate(numbers)[order]
    labels = held.labels
    if labels is None or len(table["index"]) != len(labels):
        return None
    if table["label"].shape != labels.shape or not np.allclose(table["label"], labels):
        raise InputError(f"{plan.folder}: the data are not those that the runs were compared on; put them back")
    return table


def _is_table(part: Mapping[str, np.ndarray]) -> bool:
    lengths = {len(array) for array in part.values()}
    return {"label", "index"} <= part.keys() and len(lengths) == 1 and ("probs" in part or "logits" in part)


def scorer(task: Task, metric: metrics.Metric, names: Sequence[str]) -> Score:
    """Returns a function from a table of predictions and the numbers of some of its rows to the metric of these rows.

    Args:
      task: Of the runs.
      metric: One of the task's, or one that is computed from a table.
      names: Of the classes.
    """

    def score(table: Mapping[str, np.ndarray], rows: np.ndarray) -> float:
        taken = {name: array[rows] for name, array in table.items()}
        if "logits" not in taken:
            taken["logits"] = np.log(np.maximum(taken["probs"], np.finfo(np.float32).tiny))
        if metric.compute is not None:
            return float(metric.compute(taken, names))
        return float(dict(task.score(taken, names)).get(metric.name, np.nan))

    return score


def _per_example(tables: Tables, name: str) -> np.ndarray | None:
    if name == "accuracy" and all(right(table) is not None for table in tables.values()):
        return np.stack([np.asarray(right(table), np.float64) for table in tables.values()])
    if name == "mae" and all(table["label"].ndim == 1 and "logits" in table for table in tables.values()):
        return np.stack([np.abs(table["logits"][:, 0] - table["label"]) for table in tables.values()]).astype(float)
    return None


def right(table: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Returns bool [N], which examples are right; None where there are no classes."""
    if "probs" in table and table["label"].ndim == 1:
        return table["probs"].argmax(1) == table["label"]
    return None
