"""The model's own parameters that go along with an adapter, as PEFT keeps them: whole modules, or biases of adapted
layers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, some
from jtransfer.weights import libraries
from jtransfer.weights.adapters.parts import PREFIXES
from jtransfer.weights.adapters.prompts import TYPES as PROMPTED
from jtransfer.weights.mapping import Scheme, finder
from jtransfer.weights.save import to_tensors


class Kept(NamedTuple):
    """What goes along.

    Attributes:
      tensors: by their names in the file.
      fields: of adapter_config.json.
      paths: of all parameters that the tensors are of.
      told: words about it, for people.
    """

    tensors: dict[str, np.ndarray]
    fields: dict[str, Any]
    paths: tuple[str, ...]
    told: str


def tensors(
    model: Any, variables: Mapping[str, Any], scheme: Scheme, paths: Collection[str], adapted: Sequence[str], kind: str
) -> Kept:
    """Returns what goes along with an adapter.

    Args:
      model: the base.
      variables: {"params": …, "batch_stats": …} of it, trained.
      scheme: the library's names.
      paths: of what is not the base's.
      adapted: the modules that have adapters.
      kind: PEFT's type of these.

    Raises:
      InputError: PEFT keeps no such parameter.
    """
    if not paths:
        return Kept({}, {"modules_to_save": None}, (), "")
    found, whole, biases = finder(scheme.rows, "params"), {}, []
    for path in paths:
        assignment = found(path)
        if assignment is None:
            raise InputError(f"{path} was trained, and has no name in {scheme.name}, so that PEFT can't keep it")
        name = assignment.source_names[0]
        module, _, leaf = name.rpartition(".")
        if module in adapted and leaf == "bias" and kind == "LORA":
            biases.append(name)
        elif not module or any(target == module or target.startswith(f"{module}.") for target in adapted):
            raise InputError(
                f"{path} was trained beside the adapters, and PEFT keeps whole modules alone; {module or name!r} "
                "has an adapter or is the model, so export it merged"
            )
        else:
            whole[module] = True
    named = to_tensors(variables, model, scheme=scheme.name)
    for module in dict.fromkeys(name.rpartition(".")[0] for name in named):  # PEFT takes all that end in these names
        whole |= {module: True} if module.endswith(tuple(whole)) and module not in adapted and whole else {}
    whole = dict.fromkeys(_outermost(module, whole, named) for module in whole)
    inside = tuple(f"{module}." for module in whole)
    kept = {name: array for name, array in named.items() if name.startswith(inside)}
    own = finder(scheme.rows, "source")
    along = tuple(path for name in (*kept, *biases) if (row := own(name)) for path in row.param_paths)
    kept |= libraries.buffers(kept)
    kept |= {f"{name.removesuffix('.bias')}.base_layer.bias": named[name] for name in biases}
    fields = {"modules_to_save": sorted(whole) or None} | ({"bias": "lora_only"} if biases else {})
    told = f"; with {some([*whole, *biases])}, which were trained beside them"
    prefix = PREFIXES[kind in PROMPTED]
    return Kept({f"{prefix}{name}": a for name, a in kept.items()}, fields, along, told)


def _outermost(module: str, whole: Collection[str], names: Collection[str]) -> str:
    """The module of the library that a module is in, if all of that goes along: PEFT keeps a classifier as one."""
    top = module.partition(".")[0]
    held = [name.rpartition(".")[0] for name in names if name.startswith(f"{top}.")]
    return top if all(name in whole for name in held) else module
