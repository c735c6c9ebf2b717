"""Where the variables come from, in one order: 1 resume, 2 restore, 3 pretrained, 4 scratch; and one printed table.

Resuming (1) is the loop's: it finds a checkpoint in the workdir. Otherwise `config.init` says it: the folder of another
run is restored (2), any other path or address is a pretrained checkpoint (3), "scratch" draws everything anew (4).
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from jtransfer.training import checkpoint
from jtransfer.core import sharding
from jtransfer import weights
from jtransfer.runs import folder as workdir
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width
from jtransfer.core.text_table import lay_out
from jtransfer.weights.report import Report


def variables(
    source: weights.Source,
    model: Any,
    mesh: Any,
    table: Any,
    *,
    reinit: Sequence[str] = (),
    class_names: Sequence[str] = (),
    seed: int = 0,
):
    """Returns a model's variables, each of them made, or read, straight into its sharding.

    With several JAX processes, each reads the parts that its devices hold.

    Args:
      source: "scratch", the folder of a run, or an address or an open checkpoint (see `weights.open`).
      model: a model of `jtransfer.models`.
      mesh, table: see `sharding.of_params`.
      reinit: regular expressions over the paths of parameters that are drawn anew although the source has them.
      class_names: the names of the model's classes, where they are known; the head keeps those that the source has.
      seed: of what is drawn.

    Returns:
      The variables, and the report of the load, which is None for "scratch".

    Raises:
      InputError: the source is not there, is damaged, or does not fit the model.
    """
    rng = jax.random.key(seed)
    sample = model.example_input(1)
    shapes = jax.eval_shape(model.init, rng, sample)
    shardings = sharding.of_params(shapes, mesh, table)
    if source == "scratch":
        return jax.jit(model.init, out_shardings=shardings)(rng, sample), None
    flat = trees.flatten(shardings)
    tensors, source_class_names, source_image_size = _of_run(source) if workdir.is_run(source) else _of_weights(source)
    known = source_class_names and not all(name.isdigit() for name in (*source_class_names, *class_names))
    return weights.load(
        tensors,
        model,
        reinit=reinit,
        adapt=True,
        class_names=tuple(class_names) if known else None,
        source_class_names=source_class_names,
        source_image_size=source_image_size,
        rng=rng,
        place=lambda path, param: sharding.place(param, flat[path]),
    )


def open(init: str) -> weights.Source:
    """Returns `config.init` as a checkpoint that is opened once; "scratch" and the folder of a run as they are."""
    return init if init == "scratch" or workdir.is_run(init) else weights.open(init)


def _of_run(folder: str | os.PathLike) -> tuple[dict[str, Any], tuple[str, ...], tuple[int, int] | None]:
    """The parameters of another run, the names of its classes, and the size of its images where it is known."""
    names = workdir.read_json(epath.Path(folder) / "classes.json")["class_names"]
    size = workdir.read_json(epath.Path(folder) / "config.json")["model"]["fields"].get("image_size")
    return run_tensors(folder), tuple(names), height_width(size) if size else None


def _of_weights(source: weights.Source) -> tuple[weights.Checkpoint, tuple[str, ...], tuple[int, int] | None]:
    """A checkpoint, the names of its classes, and the size of its images, as far as files beside it say them."""
    checkpoint = weights.open(source)
    names = checkpoint.class_names
    try:
        return checkpoint, names, checkpoint.image_size
    except InputError:  # they state what no model here has, and the model was given
        return checkpoint, names, None


def run_tensors(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns the parameters of a run as lazy tensors, by their paths without the variable collection."""
    return {path.split("/", 1)[1]: tensor for path, tensor in checkpoint.lazy_params(folder).items()}


def counts(report: Report | None) -> dict[str, Any]:
    """Returns what the log of a run says of a load."""
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
    params: trees.Tree, trainable: trees.Tree, stages: Sequence[str], source: str, report: Report | None
) -> list[dict[str, Any]]:
    """Returns a row for each group of parameters, which is a block or a stage, and status.

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
