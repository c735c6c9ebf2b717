"""Where the variables come from, in one order: 1 resume, 2 restore, 3 pretrained, 4 scratch; and one printed table.

Resuming (1) is the loop's: it finds a checkpoint in the workdir. Otherwise `config.init` says it: the folder of another
run is restored (2), any other path or address is a pretrained checkpoint (3), "scratch" draws everything anew (4).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from jtransfer import weights
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.runs import folder as workdir
from jtransfer.training import checkpoint
from jtransfer.training.state import AUXILIARY
from jtransfer.weights.report import Report


def variables(
    source: str,
    model: Any,
    mesh: Any,
    table: Any,
    *,
    sample: Any = None,
    reinit: Sequence[str] = (),
    class_names: Sequence[str] = (),
    seed: int = 0,
):
    """A model's variables, each leaf made or read straight into its sharding.

    Args:
      source: "scratch", the folder of a run, or what `weights.load` takes.
      model: a Linen module.
      mesh, table: see `sharding.of_params`.
      sample: an input to initialise with; by default the model's own `example_input`.
      reinit: regular expressions of parameters drawn anew although the source has them.
      class_names: of the model's head, where known; it keeps those that the source's has, too.
      seed: of what is drawn.

    Returns:
      (variables, report), where report is None for "scratch".
    """
    rng, sample = jax.random.key(seed), model.example_input(1) if sample is None else sample
    draw = functools.partial(forward.initialize, model)
    shapes = jax.eval_shape(draw, rng, sample)
    shardings = sharding.of_params(shapes, mesh, table)
    if source == "scratch":
        return jax.jit(draw, out_shardings=shardings)(rng, sample), None
    flat = trees.flatten(shardings)
    return weights.load(
        run_tensors(source) if workdir.is_run(source) else source,
        model,
        reinit=reinit,
        adapt=True,
        classes=_classes(source, class_names),
        sides=_sides(source),
        sample=sample,
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
    loaded = checkpoint.load_params(folder)
    held = {name: tree for name, tree in loaded.items() if name not in AUXILIARY}
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
