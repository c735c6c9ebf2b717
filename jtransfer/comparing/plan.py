"""The cells of a comparison: which runs there are, where they are, and the config of each."""

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from jtransfer.comparing import vary
from jtransfer.comparing.vary import Variation
from jtransfer.core.errors import InputError
from jtransfer.runs import config as configs
from jtransfer.runs import filling, json_file

FILE = "comparison.json"
RUNS = "runs"
VERSION = 1
_LONGEST = 80  # characters of a folder's name


class Plan(NamedTuple):
    """What is compared.

    Attributes:
      folder: Of the comparison.
      config: The config that is varied, plain dicts with all fields.
      variations: The settings, the baseline first.
      seeds: How many; the first is the config's.
      folds: How many, or 0, where all are compared on the validation split.
      drawn: How folds, and the labels of a curve, are drawn: "stratified", "random" or "grouped".
      group: The column whose groups stay whole.
      labels: The numbers of labels of a learning curve, ascending: of each class, or in all where labels are no
        classes; none where all are trained on.
    """

    folder: str
    config: dict[str, Any]
    variations: tuple[Variation, ...]
    seeds: int = 1
    folds: int = 0
    drawn: str = "random"
    group: str = ""
    labels: tuple[int, ...] = ()


class Cell(NamedTuple):
    """One run.

    Attributes:
      variation: The number of the setting.
      seed: Of the run, of its folds and of its labels.
      fold: Its number, or -1.
      labels: How many, or 0 for all.
    """

    variation: int
    seed: int
    fold: int = -1
    labels: int = 0


def cells(plan: Plan) -> list[Cell]:
    """Returns all runs in the order in which they are done: all settings with a seed and a fold before the next."""
    first = plan.config["seed"]
    return [
        Cell(variation, seed, fold, labels)
        for seed in range(first, first + plan.seeds)
        for fold in (range(plan.folds) if plan.folds else (-1,))
        for labels in plan.labels or (0,)
        for variation in range(len(plan.variations))
    ]


def named(plan: Plan, cell: Cell) -> str:
    """Returns the words for a cell, such as "init=scratch, seed 0, fold 1, 5 labels"."""
    parts = [plan.variations[cell.variation].name, f"seed {cell.seed}"]
    parts += [f"fold {cell.fold}"] if plan.folds else []
    parts += [f"{cell.labels} labels"] if cell.labels else []
    return ", ".join(parts)


def place(plan: Plan, cell: Cell) -> epath.Path:
    """Returns the folder of a cell's run, whose name tells its values."""
    parts = [f"labels{cell.labels}"] if cell.labels else []
    parts += [f"seed{cell.seed}"] + ([f"fold{cell.fold}"] if plan.folds else [])
    return epath.Path(plan.folder) / RUNS / _safe(plan.variations[cell.variation].name) / "-".join(parts)


def base_of(plan: Plan, variation: int) -> dict[str, Any]:
    """Returns the config of a setting, plain dicts, before seeds and splits."""
    return vary.changed(plan.config, plan.variations[variation])


def config_of(plan: Plan, cell: Cell) -> Any:
    """Returns the config of a cell's run: what it calls its test split is what all are compared on, so that no run
    looks at the comparison's own test split."""
    config = base_of(plan, cell.variation)
    data = config["data"]
    train, held = splits(plan, cell, data["train"], data["validation"])
    config["seed"], data["train"], data["test"] = cell.seed, train, held
    if not any(entry["name"] == "split" and entry["split"] == "test" for entry in config["evals"]):
        config["evals"] = [*config["evals"], configs.evaluation("split", "test").to_dict()]
    cached = any(phase["cache"] for phase in config["phases"]) and "://" not in plan.folder
    if cached and not config["feature_cache"]:
        config["feature_cache"] = str(epath.Path(plan.folder) / "features")
    return ConfigDict(config)


def splits(plan: Plan, cell: Cell, train: str, held: str) -> tuple[str, str]:
    """Returns the expressions of what a cell is trained on and compared on.

    Args:
      plan: The comparison.
      cell: The cell.
      train: The training split, of which folds are parts.
      held: The validation split, on which all are compared where there are no folds.
    """
    if plan.folds:
        column = f"{plan.group}, " if plan.drawn == "grouped" else ""
        call = f"{plan.drawn}({column}{train}, folds={plan.folds}, {{}}={cell.fold}, seed={cell.seed})"
        train, held = call.format("except"), call.format("fold")
    if cell.labels:
        method = "random" if plan.drawn == "random" else "per_class"
        train = f"{method}({train}, :{cell.labels}, seed={cell.seed})"
    return train, held


def digest(config: Any) -> str:
    """Returns what tells a cell's config from others; where features are kept does not count."""
    told = json.loads(ConfigDict(config).to_json()) | {"feature_cache": ""}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def keep(plan: Plan) -> None:
    """Writes `comparison.json`. A comparison that is there may grow by settings, seeds and labels.

    Raises:
      InputError: The folder has a comparison of another config, or of another kind, or is something else's.
    """
    check(plan)
    epath.Path(plan.folder).mkdir(parents=True, exist_ok=True)
    told = {"version": VERSION, **plan._asdict()}
    told["variations"] = [
        {"name": one.name, "changes": [list(pair) for pair in one.changes]} for one in plan.variations
    ]
    del told["folder"]
    json_file.write(epath.Path(plan.folder) / FILE, told)


def check(plan: Plan) -> None:
    """Compares a plan with that of the comparison in its folder, if there is one; nothing is written.

    Raises:
      InputError: As for `keep`.
    """
    folder = epath.Path(plan.folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--workdir={folder} is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / FILE).exists():
        raise InputError(f"{folder} is not empty and holds no comparison (no {FILE}); take another --workdir")
    before = read(plan.folder)
    changed = filling.differences(before.config, plan.config)
    for field in ("folds", "drawn", "group"):
        old, new = getattr(before, field), getattr(plan, field)
        changed += [f"{field}: {old!r} → {new!r}"] if old != new else []
    changed += ["labels: without a curve, and with one"] if bool(before.labels) != bool(plan.labels) else []
    known = {one.name: one.changes for one in before.variations}
    changed += [f"--vary: {one.name!r}" for one in plan.variations if known.get(one.name, one.changes) != one.changes]
    if changed:
        raise InputError(f"{folder} holds another comparison; take another --workdir. " + "; ".join(changed))


def read(folder: str) -> Plan:
    """Returns the plan of the comparison in a folder.

    Raises:
      InputError: There is none, or its file is damaged.
    """
    path = epath.Path(folder) / FILE
    if not path.exists():
        raise InputError(f"{folder} holds no comparison (no {FILE}); give --config=FILE and --vary=FIELD=VALUE,VALUE")
    told = json_file.read(path)
    try:
        if told.pop("version") != VERSION:
            raise InputError(f"{path} is of a later version")
        variations = [Variation(one["name"], tuple(map(tuple, one["changes"]))) for one in told.pop("variations")]
        lists = {"variations": tuple(variations), "labels": tuple(told.pop("labels"))}
        return Plan(folder=str(folder), **told, **lists)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged: it does not hold a comparison; put a copy of it back") from None


def plain(config: Any) -> dict[str, Any]:
    """Returns a config with all fields as its JSON file will give it back."""
    return json.loads(ConfigDict(configs.fill(copy.deepcopy(config))).to_json())


def several(found: Mapping[str, list[str]]) -> Iterator[str]:
    """Yields the names of all settings that are one and the same."""
    for names in found.values():
        if len(names) > 1:
            yield " and ".join(map(repr, names))


def _safe(name: str) -> str:
    """A folder's name for a setting; with a digest where it can't be the name itself."""
    plain = re.sub(r"[^\w.=+@-]+", "_", name)[:_LONGEST].strip("._")
    if plain == name:
        return plain
    return f"{plain}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"
