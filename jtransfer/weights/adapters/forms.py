"""The methods of PEFT that are read and written: of each, PEFT's tensors of a module ↔ the arrays of our method.

LoRA and its kin follow the places of inputs and outputs (`lora`); a method of ours that says itself what it is in PEFT
has `PEFT`, `from_peft` and `to_peft`, which are given modules that are one layer here.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import METHODS, slots
from jtransfer.weights.adapters import lora, targets
from jtransfer.weights.adapters.config import Config, of_module
from jtransfer.weights.adapters.modules import Module, Part
from jtransfer.weights.adapters.parts import PREFIXES, WEIGHT

OF_LORA = ("LORA", "ADALORA")
LORA = ("lora", "dora", "adalora", "lora_fa")  # our methods that are written as LoRA
_PATTERNS = {"r": "rank_pattern", "alpha": "alpha_pattern", "n_frequency": "n_frequency_pattern"}

Own = dict[str, Any]


def read(
    config: Config,
    module: Module,
    tensors: Mapping[str, np.ndarray],
    shared: Mapping[str, np.ndarray],
    widest: tuple[int, int],
) -> list[tuple[str, str, Own]]:
    """Returns (path, method, arrays) of the adapters that the tensors of one module are.

    Args:
      config: what the adapter_config.json says.
      module: the module.
      tensors: of it, by kind.
      shared: those of all modules, by their whole names.
      widest: the largest numbers of inputs and of outputs of all modules.

    Raises:
      InputError: the tensors do not fit, or the method can't be here.
    """
    if config.type in OF_LORA:
        return [(part.site.path, method, own) for part, method, own in lora.read(config, module, tensors)]
    name, form = method_of(config.type, config.where)
    settings = _settings(config, module.name) | {"widest": widest}
    given = {f"{kind}.weight" if kind in WEIGHT else kind: array for kind, array in tensors.items()}
    try:
        if name == "ia3" and not module.whole and not settings["feedforward"]:
            factors = _rows(given, module)
            return [(part.site.path, name, form.from_peft(own, part.site, settings)) for part, own in factors]
        site = _one(module, config.where)
        return [(site.path, name, form.from_peft({**given, **shared}, site, settings))]
    except InputError as error:
        raise InputError(f"{config.where}: {module.name}: {error}") from None


def _settings(config: Config, name: str) -> dict[str, Any]:
    """The values of the config's keys for a module."""
    found = {
        key: of_module(config, _PATTERNS[key], value, name)
        if key in _PATTERNS and _PATTERNS[key] in config.fields
        else value
        for key, value in config.fields.items()
    }
    if config.type == "IA3":
        asked = config.fields["feedforward_modules"] or []
        found["feedforward"] = targets.matcher(asked, f"{config.where}: feedforward_modules")(name)
    return found


def _rows(tensors: Mapping[str, np.ndarray], module: Module) -> list[tuple[Part, dict[str, np.ndarray]]]:
    """The factors of the outputs of each of the layers that a module is."""
    factors = tensors.get("ia3_l", np.zeros(0))
    if factors.shape != (module.outputs, 1):
        raise InputError(f"ia3_l has the shape {list(factors.shape)}, not {[module.outputs, 1]}")
    return [(part, {"ia3_l": factors[part.outputs.ravel()]}) for part in module.parts]


def method_of(kind: str, where: str) -> tuple[str, ModuleType]:
    """Returns the name of our method that is PEFT's of a type, and the file that defines it.

    Raises:
      InputError: there is none.
    """
    name = kind.lower()
    form = sys.modules[METHODS[name].init.__module__] if name in METHODS else None
    if form is None or getattr(form, "PEFT", None) != kind:
        raise InputError(f"{where}: peft_type={kind!r} is no method here")
    return name, form


def check(method: str) -> None:
    """Raises InputError where adapters of a method of ours are not written for PEFT."""
    if method not in LORA:
        _form(method)


def _form(method: str) -> ModuleType:
    form = sys.modules[slots.method_of(method).init.__module__]
    if not hasattr(form, "to_peft"):
        raise InputError(f"adapters of {method!r} are not written for PEFT; export the model merged, if it can be")
    return form


def largest(located: Iterable[Module]) -> tuple[int, int]:
    """Returns the largest numbers of inputs and of outputs of modules."""
    found = list(located)
    return max((module.inputs for module in found), default=0), max((module.outputs for module in found), default=0)


def _one(module: Module, where: str) -> Any:
    """The one layer that a module is here."""
    if not module.whole:
        paths = ", ".join(part.site.path for part in module.parts)
        raise InputError(f"{where}: {module.name} is {paths} here, for which only LoRA and its kin are read")
    return module.parts[0].site


def write(
    method: str, located: Mapping[str, Module], owns: Mapping[str, Mapping[str, Own]]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the method's part of adapter_config.json, and the tensors by their names in a file.

    Args:
      method: the name of our method.
      located: the modules, by name.
      owns: of each module, the arrays of its layers' adapters, by path.

    Raises:
      InputError: PEFT has no such method, or not of such a layer.
    """
    form = _form(method)
    widest = largest(located.values())
    tensors: dict[str, np.ndarray] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, module in located.items():
        arrays, settings[name] = _written(form, method, module, owns[name], widest)
        for kind, array in arrays.items():
            tensors[kind if kind.startswith("base_model.") else f"{PREFIXES[0]}{name}.{kind}"] = array
    fields = {"peft_type": form.PEFT, "target_modules": sorted(located)}
    if method == "ia3":
        fields["feedforward_modules"] = sorted(name for name, each in settings.items() if each.pop("feedforward"))
    return fields | _common(settings, method), tensors


def _written(
    form: ModuleType, method: str, module: Module, owns: Mapping[str, Own], widest: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of one module, and its settings."""
    if method != "ia3" or module.whole:
        site = _one(module, f"adapters of {method!r}")
        return form.to_peft(owns[site.path], site, widest)
    factors = np.ones((module.outputs, 1), np.float32)
    for part in module.parts:
        if part.site.path in owns:
            if "output" not in owns[part.site.path]:
                raise InputError(f"{module.name} is one module in PEFT, and IA3 is on the input of a part of it")
            factors[part.outputs.ravel(), 0] = np.asarray(owns[part.site.path]["output"]).ravel()
    return {"ia3_l": factors}, {"feedforward": False}


def _common(settings: Mapping[str, Mapping[str, Any]], method: str) -> dict[str, Any]:
    """The settings of all modules as one: the most common value, and patterns for the others where PEFT has them."""
    fields: dict[str, Any] = {}
    for key in dict.fromkeys(key for each in settings.values() for key in each):
        values = {name: each.get(key) for name, each in settings.items()}
        fields[key] = Counter(values.values()).most_common(1)[0][0]
        others = {name: value for name, value in values.items() if value != fields[key]}
        if others and key not in _PATTERNS:
            raise InputError(f"PEFT has one {key} for all modules of {method!r}; here are several")
        if key in _PATTERNS:
            fields[_PATTERNS[key]] = others
    return fields
