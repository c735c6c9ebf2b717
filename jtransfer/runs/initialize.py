"""Where the variables come from, in one order: 1 resume, 2 restore, 3 pretrained, 4 scratch; and one printed table.

Resuming (1) is the loop's: it finds a checkpoint in the workdir. Otherwise `config.init` says it: the folder of another
run is restored (2), any other path or address is a pretrained checkpoint (3), "scratch" draws everything anew (4).
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jtransfer import weights
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.runs import folder as workdir
from jtransfer.training import checkpoint
from jtransfer.weights.report import Report


def variables(
    source: str,
    model: Any,
    mesh: Any,
    table: Any,
    *,
    reinit: Sequence[str] = (),
    class_names: Sequence[str] = (),
    seed: int = 0,
):
    """A model's variables, each leaf made or read straight into its sharding.

    Args:
      source: "scratch", the folder of a run, or what `weights.load` takes.
      model: a model of `jtransfer.models`.
      mesh, table: see `sharding.of_params`.
      reinit: regular expressions of parameters drawn anew although the source has them.
      class_names: of the model's head, where known; it keeps those that the source's has, too.
      seed: of what is drawn.

    Returns:
      (variables, report), where report is None for "scratch".
    """
    rng = jax.random.key(seed)
    sample = model.example_input(1)
    shapes = jax.eval_shape(model.init, rng, sample)
    shardings = sharding.of_params(shapes, mesh, table)
    if source == "scratch":
        return jax.jit(model.init, out_shardings=shardings)(rng, sample), None
    flat = trees.flatten(shardings)
    return weights.load(
        run_tensors(source) if workdir.is_run(source) else source,
        model,
        reinit=reinit,
        adapt=True,
        classes=_classes(source, class_names),
        sides=_sides(source),
        rng=rng,
        place=lambda path, leaf: sharding.place(leaf, flat[path]),
    )


def _classes(source: str, names: Sequence[str]) -> tuple[Sequence[str], Sequence[str]] | None:
    """The names of the source's classes and of ours; None where they are not known, or mere numbers."""
    try:
        if workdir.is_run(source):
            theirs = workdir.read_json(epath.Path(source) / "classes.json")["class_names"]
        else:
            theirs = weights.class_names(source)
    except InputError:
        return None
    return None if all(name.isdigit() for name in (*theirs, *names)) else (tuple(theirs), tuple(names))


def _sides(source: str) -> tuple[int, int] | None:
    """Height and width of the images that the source's model takes; None where they are not known."""
    try:
        if not workdir.is_run(source):
            return weights.sides(source)
    except InputError:
        return None
    size = workdir.read_json(epath.Path(source) / "config.json")["model"]["fields"].get("image_size")
    return tuple(size) if isinstance(size, list) else size and (size, size)


def run_tensors(folder: str) -> dict[str, Any]:
    held = checkpoint.load_params(folder)
    return {path.split("/", 1)[1]: leaf for path, leaf in trees.flatten(held).items()}


def counts(report: Report | None) -> dict[str, Any]:
    """What the run's log says of a load."""
    if report is None:
        return {}
    return {
        "scheme": report.scheme,
        "digest": report.digest,
        "loaded": len(report.loaded),
        "adapted": [f"{path}: {what}" for path, what in report.adapted],
        "reinitialised": [path for path, _ in report.reinitialised],
        "ignored": [name for name, _ in report.ignored],
    }


def render(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `table` as text."""
    cells = [("group", "shape", "source", "status", "parameters", "KiB")]
    cells += [
        (r["group"], r["shape"], r["source"], r["status"], f"{r['params']:,}", f"{r['bytes'] / 1024:,.1f}")
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    moving = sum(r["params"] for r in rows if r["status"] == "trainable")
    total = sum(r["params"] for r in rows)
    lines = [
        "  ".join(c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    return "\n".join(
        [f"phase {title}: {moving:,} of {total:,} parameters are trained", *(f"  {line}" for line in lines)]
    )


def table(
    params: trees.Tree, trainable: trees.Tree, stages: Sequence[str], source: str, report: Report | None
) -> list[dict[str, Any]]:
    """One row for each group of parameters, block or stage, and status; for the terminal and the report.

    Args:
      params: arrays or shapes.
      trainable: bools of the same paths.
      stages: the model's stage names, in order.
      source: `config.init`.
      report: of the load, or None where it is not at hand (after the first phase).

    Returns:
      Rows of `group`, `shape` (of the largest parameter), `source` ("loaded" | "adapted" | "re-initialised" |
      "initialised"), `status` ("trainable" | "frozen"), `params`, `bytes`.
    """
    moves = trees.flatten(trainable)
    drawn = dict.fromkeys((path for path, _ in report.reinitialised), "re-initialised") if report else {}
    changed = dict.fromkeys((path for path, _ in report.adapted), "adapted") if report else {}
    ordered = sorted(trees.flatten(params).items(), key=lambda item: stages.index(item[0].split("/")[0]))
    origin = "initialised" if source == "scratch" else "loaded"
    groups: dict[tuple, list] = defaultdict(list)
    for path, leaf in ordered:
        came = (drawn | changed).get(path, origin)
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


def _group(path: str) -> str:
    keys = Path(path).parts
    return "/".join(keys[:2]) if len(keys) > 2 and keys[1].startswith("block") else keys[0]
