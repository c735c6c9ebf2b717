"""The adapters of a run as a folder of Hugging Face's PEFT, with what the run trained beside them."""

from pathlib import Path
from typing import Any

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.runs.open import StoredRun
from jtransfer.weights.adapters import save

FORMATS = {  # format → whose names the modules have; "" is the first library that has the model
    "peft": "",
    "peft_transformers4": save.V4,
    "peft_timm": "timm",
    "peft_torchvision": "torchvision",
}


def write(trained: Any, folder: Path, format: str) -> list[str]:
    """Writes the adapters of a model into a folder, and returns lines that say what was written.

    Args:
      trained: an `export.Trained`.
      folder: which exists and is empty.
      format: one of `FORMATS`.

    Raises:
      InputError: there are none; PEFT or the library has no such adapter; or the base is nowhere else.
    """
    model, run = trained.spec.model, trained.run
    beside = [path for one in trained.adapters for path in one.params]
    if run is None:
        source = trained.sources[0].name
    else:
        source, beside = str(run.config.init), [*beside, *trained_beside(run, trained.variables)]
        if source == "scratch":
            raise InputError(f"{trained.name} began with init='scratch', so its base is nowhere else; export it merged")
    return save.save(
        folder,
        model,
        trained.variables,
        beside=beside,
        source=source,
        library=FORMATS[format],
        sample=trained.sample,
    )


def trained_beside(run: StoredRun, variables: Any) -> list[str]:
    """Returns the paths, without the collection, of those of a run's variables that are not its base's: what any phase
    trained, statistics that moved with it, and what was drawn anew or changed to fit when it began.

    Args:
      run: the run.
      variables: of its model.
    """
    own = {name: variables[name] for name in variables if name in rules.OWN}
    every = {name: tree for name, tree in variables.items() if name in rules.COLLECTIONS}
    stages = forward.stages(run.model)
    masks = [trees.flatten(rules.trainable(phase.trainable, every, stages)) for phase in run.config.phases]
    names = rules.names(own)
    moved = {names[full] for full in names if full.startswith("params/") and any(mask.get(full) for mask in masks)}
    modules = {path.rpartition("/")[0] for path in moved}
    moved |= {names[full] for full in names if not full.startswith("params/") and _module(names[full]) in modules}
    begun = next((line for line in run.lines if line.get("event") == "init"), {})
    changed = [*begun.get("reinitialised", ()), *(line.partition(": ")[0] for line in begun.get("adapted", ()))]
    return [path for path in names.values() if path in moved or path in set(changed)]


def _module(path: str) -> str:
    return path.rpartition("/")[0]
