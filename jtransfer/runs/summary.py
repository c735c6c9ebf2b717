"""A table of a run's parameters by group: where they come from, and whether they are trained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.show import one_line
from jtransfer.core.text_table import lay_out

_LONGEST = 2000  # characters of a line on the weights


def render(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows of `table` as text, below a title with the name of a phase."""
    cells = [("group", "shape", "source", "status", "parameters", "KiB")]
    cells += [
        (r["group"], r["shape"], r["source"], r["status"], f"{r['params']:,}", f"{r['bytes'] / 1024:,.1f}")
        for r in rows
    ]
    moving = sum(r["params"] for r in rows if r["status"] == "trainable")
    total = sum(r["params"] for r in rows)
    first = f"phase {title}: {moving:,} of {total:,} parameters are trained"
    return "\n".join([first, *lay_out(cells, align="<<<<>>")])


def table(
    variables: trees.Tree, trainable: trees.Tree, stages: Sequence[str], source: str, told: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns a row for each group of parameters, which is a block or a stage, and status.

    Args:
      variables: the collections of variables that may be trained, arrays or shapes.
      trainable: bools of the same paths.
      stages: the model's stage names, in order; none for a model without stages.
      source: `config.init`.
      told: what the run began with, as `initialize.counts` gives it and the log keeps it.

    Returns:
      Rows of `group`, `shape` (of the largest parameter), `source` ("loaded" | "adapted" | "re-initialised" |
      "initialised"), `status` ("trainable" | "frozen"), `params`, `bytes`.
    """
    paths = rules.names(variables)
    moves = {paths[full]: value for full, value in trees.flatten(trainable).items()}
    order = {stage: i for i, stage in enumerate(stages)}
    drawn = dict.fromkeys(told.get("reinitialised", ()), "re-initialised")
    changed = dict.fromkeys((line.split(": ")[0] for line in told.get("adapted", ())), "adapted")
    leaves = {paths[full]: leaf for full, leaf in trees.flatten(variables).items()}
    ordered = sorted(leaves.items(), key=lambda item: order.get(item[0].split("/")[0], len(order)))
    origin = "initialised" if source == "scratch" else "loaded"
    groups: dict[tuple, list] = defaultdict(list)
    for path, leaf in ordered:
        came = "initialised" if path.startswith("aux/") else (drawn | changed).get(path, origin)
        groups[_group(path), came, "trainable" if moves[path] else "frozen"].append(leaf)
    return [
        {
            "group": group,
            "shape": " × ".join(map(str, max(leaves, key=trees.count).shape)),
            "source": came,
            "status": status,
            "params": trees.count(leaves),
            "bytes": trees.nbytes(leaves),
        }
        for (group, came, status), leaves in groups.items()
    ]


def notes(told: Mapping[str, Any]) -> list[str]:
    """Returns lines about a load: which weights were read of several, where the model is not what its source says, and
    what could not be told from the source.

    Args:
      told: what the run began with, as for `table`.
    """
    names = " and ".join(told.get("unsure", ()))
    unsure = [f"? {names} can't be told from the source; the model has its own, unless model.fields gives them"]
    return [
        one_line(line, _LONGEST)
        for line in (*told.get("notes", ()), *told.get("differs", ()), *(unsure if names else []))
    ]


def _group(path: str) -> str:
    keys = path.split("/")
    if keys[0] == "aux":
        return "/".join(keys[:3])
    if keys[0] == "adapters":
        return "/".join(keys[:2])
    return "/".join(keys[:2]) if len(keys) > 2 and keys[1].startswith("block") else keys[0]
