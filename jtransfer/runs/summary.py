"""A table of a run's parameters by group: where they come from, and whether they are trained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer import peft
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.show import one_line
from jtransfer.core.text_table import lay_out

ADAPTERS = "adapters/"
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
    of_adapters = sum(r["params"] for r in rows if r["group"].startswith(ADAPTERS) and r["status"] == "trainable")
    share = f" ({moving / total:.2%}), {of_adapters:,} of them in adapters" if of_adapters else ""
    first = f"phase {title}: {moving:,} of {total:,} parameters are trained{share}"
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
      "initialised"), `status` ("trainable" | "frozen"), `params`, `bytes`. Adapters are grouped by the modules that
      they adapt, as "adapters/layer_*/attention/query", with what they are in place of a shape, without what is never
      trained; their source is "new", or "loaded" where they are those of another run.
    """
    paths = rules.names(variables)
    moves = {paths[full]: value for full, value in trees.flatten(trainable).items()}
    order = {stage: i for i, stage in enumerate(stages)}
    drawn = dict.fromkeys(told.get("reinitialised", ()), "re-initialised")
    changed = dict.fromkeys((line.split(": ")[0] for line in told.get("adapted", ())), "adapted")
    adapters = variables.get("adapters", {}) if "params" in variables else {}
    own = {name: tree for name, tree in variables.items() if not adapters or tree is not adapters}
    leaves = {paths[full]: leaf for full, leaf in trees.flatten(own).items()}
    ordered = sorted(leaves.items(), key=lambda item: order.get(item[0].split("/")[0], len(order)))
    origin = "initialised" if source == "scratch" else "loaded"
    groups: dict[tuple, list] = defaultdict(list)
    for path, leaf in ordered:
        came = "initialised" if path.startswith("aux/") else (drawn | changed).get(path, origin)
        groups[group(path), came, "trainable" if moves[path] else "frozen"].append(leaf)
    rows = [
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
    return [*rows, *_of_adapters(adapters, moves, told)]


def _of_adapters(adapters: trees.Tree, moves: Mapping[str, bool], told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each kind of module, adapter and status."""
    groups: dict[tuple, list[peft.Adapted]] = defaultdict(list)
    for one in peft.adapted(adapters):
        prefix = f"{ADAPTERS}{one.path}/{one.slot}/"
        moving = any(moves[path] for path in moves if path.startswith(prefix))
        groups[peft.kind(one.path), one.slot, one.rank, "trainable" if moving else "frozen"].append(one)
    return [
        {
            "group": f"{ADAPTERS}{path if len(found) > 1 else found[0].path}",
            "shape": slot + (f", rank {rank}" if rank else "") + (f", {len(found)} modules" if len(found) > 1 else ""),
            "source": "loaded" if told.get("adapters") else "new",
            "status": status,
            "params": sum(one.count for one in found),
            "bytes": 4 * sum(one.count for one in found),
        }
        for (path, slot, rank, status), found in groups.items()
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


def base(source: Mapping[str, Any]) -> list[str]:
    """Returns a line that says that what is frozen is not copied, where it is not.

    Args:
      source: of the position, from `checkpoint.from_init`.
    """
    if not source:
        return []
    line = (
        f"what is frozen is not copied: who reads this run reads it from {source['init']} (digest {source['digest']})"
    )
    return [one_line(f"{line}; config.base='copy' keeps a copy in the run's folder", _LONGEST)]


def frozen(variables: trees.Tree) -> int:
    """Returns the number of parameters among what is frozen, without the constants of adapters."""
    flat = trees.flatten(variables)
    return sum(trees.count(leaf) for path, leaf in flat.items() if not rules.FIXED.fullmatch(path))


def group(path: str) -> str:
    """Returns the group that a parameter is told of with: its block, or its stage."""
    keys = path.split("/")
    if keys[0] == "aux":
        return "/".join(keys[:3])
    return "/".join(keys[:2]) if len(keys) > 2 and keys[1].startswith("block") else keys[0]
