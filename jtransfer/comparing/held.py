"""The examples that all settings are compared on, and what is wrong with data for a comparison."""

import contextlib
import dataclasses
import functools
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jtransfer import data
from jtransfer.comparing import plan as plans
from jtransfer.comparing.plan import Cell, Plan
from jtransfer.core.errors import InputError
from jtransfer.data import Source, splits
from jtransfer.runs import build, split_check
from jtransfer.runs.stream import SPLITS, spec_of

_BASE = "base"


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """The examples of a comparison, opened once.

    Attributes:
      whole: The examples that folds are parts of; without folds, those of the validation split.
      plan: The comparison.
    """

    whole: Source
    plan: Plan

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """The labels of all examples; None where they have none each."""
        return None if self.whole.label_kind in ("tags", "none") else self.whole.labels

    @functools.cached_property
    def groups(self) -> np.ndarray | None:
        """The number of each example's group; None where none are kept whole."""
        if self.plan.drawn != "grouped":
            return None
        assert self.whole.column is not None
        return np.unique([str(value).strip() for value in self.whole.column(self.plan.group)], return_inverse=True)[1]

    @functools.cache  # noqa: B019
    def numbers(self, cell: Cell) -> np.ndarray:
        """Returns the numbers of the examples that a cell is compared on, among all."""
        if not self.plan.folds:
            return np.arange(len(self.whole))
        _, held = plans.splits(self.plan, cell, _BASE, "")
        return _taken(held, self.whole)


def opened(plan: Plan, variation: int = 0) -> Held:
    """Returns the examples that a setting is compared on.

    Raises:
      InputError: There is no such data set or split.
    """
    base = plans.base_of(plan, variation)
    section: Any = ConfigDict(base["data"])
    split = section.train if plan.folds else section.validation
    return Held(_read_once(data.open(spec_of(section, base["modality"], base["task"]), split)), plan)


def drawn(config: dict[str, Any], folds: int, group: str, labels: tuple[int, ...]) -> str:
    """Returns how examples are drawn: "grouped", if there is a column; "stratified" where labels are classes.

    Raises:
      InputError: There is nothing to compare on, or a number makes no sense.
    """
    section: Any = ConfigDict(config["data"])
    if folds < 0 or folds == 1:
        raise InputError(f"--folds={folds}: give 2 or more, or 0 to compare on data.validation")
    if group and not folds:
        raise InputError(f"--group={group}: groups stay whole in folds; give --folds=5")
    if not folds and not section.validation:
        raise InputError(
            "there is nothing to compare on, for the test split chooses nothing: give --folds=5, or data.validation, "
            "such as --config.data.train='random(train, :80%)' --config.data.validation='random(train, 80%:)'"
        )
    if len(set(labels)) < len(labels) or min(labels, default=1) < 1:
        raise InputError(f"--labels={','.join(map(str, labels))}: give numbers from 1 on, each once")
    whole = data.open(spec_of(section, config["modality"], config["task"]), section.train)
    if group:
        return "grouped"
    return "stratified" if whole.label_kind == "class" else "random"


def check(plan: Plan) -> None:
    """Checks all that can be wrong with a comparison before a run of it begins; nothing is written.

    Raises:
      InputError: A setting can't be run; two are one and the same; labels are too few; or the settings are compared on
        different examples.
    """
    bases = [plans.base_of(plan, number) for number in range(len(plan.variations))]
    same: dict[str, list[str]] = {}
    for base, variation in zip(bases, plan.variations, strict=True):
        same.setdefault(plans.digest(base), []).append(variation.name)
    for names in plans.several(same):
        raise InputError(f"--vary: {names} are the same config; leave one out")
    _check_examples(plan, bases)
    cells = {cell.variation: cell for cell in reversed(plans.cells(plan))}
    for number, variation in enumerate(plan.variations):
        if _is_begun(plan, cells[number]):
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            try:
                build.prepare(plans.config_of(plan, cells[number]), Path(folder) / "none")
            except InputError as error:
                where = f"{variation.name}: " if len(plan.variations) > 1 else ""
                raise InputError(f"{where}{error}") from None


def _check_examples(plan: Plan, bases: Sequence[dict[str, Any]]) -> None:
    """Checks that all settings are compared on the same examples: of one data set by their numbers, otherwise by their
    labels."""
    first, looked = None, set()
    for number, base in enumerate(bases):
        read = plans.digest({"data": base["data"], "modality": base["modality"], "task": base["task"]})
        if read in looked:
            continue
        looked.add(read)
        held = opened(plan, number)
        _check_labels(plan, base)
        data_set = (base["data"]["name"], base["data"]["dir"])
        first = first or (data_set, held)
        numbers, labels = (held.whole.numbers, first[1].whole.numbers), (held.labels, first[1].labels)
        alike = len(held.whole) == len(first[1].whole) and _equal(*labels)
        if not alike or (data_set == first[0] and not _equal(*numbers)):
            raise InputError(
                f"--vary: {plan.variations[number].name!r} would be compared on other examples than "
                f"{plan.variations[0].name!r}; compare settings on the same ones"
            )


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return (one is None and other is None) or (one is not None and other is not None and np.array_equal(one, other))


def overlaps(plan: Plan) -> list[str]:
    """Returns a line for each two splits of the comparison that have examples in common, its test split among them."""
    base = plans.base_of(plan, 0)
    section: Any = ConfigDict(base["data"])
    spec = spec_of(section, base["modality"], base["task"])
    whole = {name: data.open(spec, section[name]) for name in SPLITS if section[name]}
    opened: Any = SimpleNamespace(whole=whole, data=section)
    return split_check.overlaps(opened, "data")


def _is_begun(plan: Plan, cell: Cell) -> bool:
    return plans.place(plan, cell).exists()


def _check_labels(plan: Plan, base: dict[str, Any]) -> None:
    """Checks that each fold, and each size of a learning curve, can be drawn of the training examples."""
    section: Any = ConfigDict(base["data"])
    spec = spec_of(section, base["modality"], base["task"])
    data.open(spec, section.test)  # which is there, and is not looked at
    train = _read_once(data.open(spec, section.train))
    if train.label_kind == "class":
        counts = np.bincount(train.labels, minlength=len(train.class_names))
        there = np.flatnonzero(counts)
        if len(there) < 2:
            raise InputError(f"all examples of {section.train!r} are of the class {train.class_names[there[0]]!r}")
        least = there[np.argmin(counts[there])]
        if plan.drawn == "stratified" and counts[least] < plan.folds:
            raise InputError(
                f"--folds={plan.folds}: the class {train.class_names[least]!r} has {counts[least]} examples, fewer "
                f"than folds; give at most {counts[least]}"
            )
    elif plan.labels and plan.drawn == "grouped":
        raise InputError("--labels with --group needs one class for each example")
    largest = max(plan.labels, default=0)
    for cell in dict.fromkeys(cell._replace(variation=0, labels=largest) for cell in plans.cells(plan)):
        try:
            for split in plans.splits(plan, cell, _BASE, _BASE):
                _taken(split, train)
        except InputError as error:
            reason = str(error).partition("': ")[2] or str(error)
            raise InputError(f"{plans.named(plan, cell)}: {reason}") from None


def _taken(split: str, whole: Source) -> np.ndarray:
    """The numbers of the examples that an expression takes of "base"."""
    found = splits.take(split, {_BASE: whole}, "the examples")
    assert found.numbers is not None
    return found.numbers


def _read_once(source: Source) -> Source:
    """The source, whose labels are read once for any number of splits of it."""
    if source.label_kind in ("tags", "none"):
        return source
    labels = source.labels
    return dataclasses.replace(source, read_labels=lambda start, stop: labels[start:stop])
