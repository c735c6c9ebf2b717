"""From an adapter's folder to the collection "adapters" of a model, and the parameters that come with it."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer import peft
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, some
from jtransfer.peft import slots
from jtransfer.weights import maps
from jtransfer.weights.adapters import base, beside, folder, forms, modules, parts, prompts, targets
from jtransfer.weights.formats.lazy import read
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.shapes import abstract, example

KERASHUB = ".lora.h5"  # how the names of its files end
_LABEL = re.compile(r"[A-Za-z0-9_-]+")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An adapter for a model.

    Attributes:
      name: its address.
      adapters: the collection "adapters".
      params: the model's own parameters that come with it, as a head that was trained with it, by their paths without
        the collection.
      base: what is known of the base that it was trained on; None where nothing is.
      lines: what it is, for people.
    """

    name: str
    adapters: dict[str, Any]
    params: dict[str, np.ndarray]
    base: base.Base | None
    lines: tuple[str, ...]


def load(source: str | os.PathLike, model: Any, *, label: str = "", sample: Any = None) -> Loaded:
    """Returns an adapter of Hugging Face's PEFT, or KerasHub's `.lora.h5`, for a model. No parameter is needed.

    All its tensors are used, and all modules that it says it is of are adapted, or it is refused.

    Args:
      source: the folder of the adapter, `hf://org/name`, or a file that ends in `.lora.h5`.
      model: a model of `jtransfer.models`, or another with a weights map.
      label: what tells it from other adapters of the same model, as "french"; its arrays are then at `lora.french`.
      sample: an input to trace the model with; by default `model.example_input(1)`.

    Raises:
      InputError: it is damaged, does not fit the model, or says what is not done here.
    """
    if label and not _LABEL.fullmatch(label):
        raise InputError(f"an adapter is labelled by letters, digits, - and _ alone, and not by {label!r}")
    if os.fspath(source).endswith(KERASHUB):
        from jtransfer.weights.adapters import kerashub

        found = kerashub.load(os.fspath(source), _sites(model, sample))
        return Loaded(str(source), _tree(found, label), {}, None, (_guessed(str(source), found),))
    opened = folder.open(source)
    sorted_ = parts.sort(opened.tensors, opened.config.type, opened.name)
    shapes = abstract(model, sample)
    names = {path: trees.flatten(shapes)[full] for full, path in rules.names(shapes).items()}
    sites = _sites(model, sample)
    scheme = _scheme(model, sorted_, opened)
    if opened.config.type in prompts.TYPES:
        return _prompts(opened, sorted_, sites, shapes, scheme, names, label)
    adapters = _adapters(opened, sorted_, modules.named(scheme, sites))
    params, ignored = beside.params(sorted_.beside, scheme, names, opened.config)
    _check_finite(opened.name, adapters, params)
    lines = _lines(opened, adapters, params, ignored, scheme)
    return Loaded(opened.name, _tree(adapters, label), params, opened.base, lines)


def _guessed(source: str, found: list[tuple[str, str, dict[str, Any]]]) -> str:
    return (
        f"{source}: LoRA of KerasHub, taken to be of query and value in order, {len(found)} layers, with alpha = rank"
    )


def _sites(model: Any, sample: Any) -> dict[str, peft.Site]:
    return peft.sites(model, abstract(model, sample), example(model) if sample is None else sample)


def _prompts(
    opened: folder.Folder,
    found: parts.Parts,
    sites: Mapping[str, peft.Site],
    shapes: trees.Tree,
    scheme: Scheme,
    names: Mapping[str, Any],
    label: str,
) -> Loaded:
    """Prompts or prefixes, which are of no module of the library."""
    tensor = found.beside.pop(prompts.NAME, None)
    if tensor is None:
        raise InputError(f"{opened.name}: {prompts.NAME} is missing")
    if label:
        raise InputError(f"{opened.name}: {opened.config.type} can't be one of several; give it alone")
    tree = prompts.load(opened.config, tensor, sites, shapes["params"])
    params, ignored = beside.params(found.beside, scheme, names, opened.config)
    adapters = [(path, slot, own) for path, slot, own in slots.split(tree)]
    _check_finite(opened.name, adapters, params)
    return Loaded(opened.name, tree, params, opened.base, _lines(opened, adapters, params, ignored, scheme))


def _scheme(model: Any, found: parts.Parts, opened: folder.Folder) -> Scheme:
    maps.family(model)
    wanted = [*found.modules, *(name.rpartition(".")[0] for name in found.beside if "." in name)]
    known = maps.schemes(model)
    scheme = modules.choose(known, wanted) if wanted else next(iter(known))
    if scheme is None:
        first = next(iter(opened.tensors))
        raise InputError(f"{opened.name}: {type(model).__name__} has no modules of these names (first {first!r})")
    return scheme


def _adapters(
    opened: folder.Folder, found: parts.Parts, known: Mapping[str, modules.Named]
) -> list[tuple[str, str, dict[str, Any]]]:
    config = opened.config
    if strange := [name for name in found.modules if name not in known]:
        raise InputError(f"{opened.name}: the model has no layer for {some(strange)}, which the adapter has tensors of")
    linear = [name for name, module in known.items() if module.linear]
    head = next((name for name, m in known.items() if any(s.path.startswith("head/") for s in m.sites)), "")
    if parts.KINDS.get(config.type):
        targets.check(config, list(found.modules), list(known), linear, head)
    shared = {name: read(tensor) for name, tensor in found.shared.items()}
    located = {name: _located(known[name], opened.name) for name in found.modules}
    widest = forms.largest(located.values())
    adapters = []
    for name, tensors in found.modules.items():
        arrays = {kind: np.asarray(read(tensor), np.float32) for kind, tensor in tensors.items()}
        adapters += forms.read(config, located[name], arrays, shared, widest)
    return adapters


def _located(module: modules.Named, where: str) -> modules.Module:
    found = modules.locate(module)
    if found is None:
        raise InputError(f"{where}: the kernel of {module.name} has another form here, and can't be adapted from it")
    return found


def _tree(found: list[tuple[str, str, dict[str, Any]]], label: str) -> dict[str, Any]:
    slot = f".{label}" if label else ""
    flat = {
        f"{path}/{method}{slot}/{name}": np.asarray(leaf, order="C")
        for path, method, own in found
        for name, leaf in trees.flatten(own).items()
    }
    return trees.unflatten(flat)


def _check_finite(name: str, adapters: list[tuple[str, str, dict[str, Any]]], params: Mapping[str, np.ndarray]) -> None:
    for path, _, own in adapters:
        for leaf in trees.flatten(own).values():
            if not np.isfinite(leaf).all():
                raise InputError(f"{name}: the adapter of {path} holds numbers that are not finite; it is damaged")
    for path, array in params.items():
        if not np.isfinite(array).all():
            raise InputError(f"{name}: {path} holds numbers that are not finite; it is damaged")


def _lines(
    opened: folder.Folder, adapters: list, params: Mapping[str, Any], ignored: tuple[str, ...], scheme: Scheme
) -> tuple[str, ...]:
    methods = sorted({method for _, method, _ in adapters})
    what = f"{' and '.join(methods) or opened.config.type} on {len(adapters)} layers ({scheme.name} names)"
    lines = [f"{opened.name}: {what}", *opened.notes]
    if params:
        lines.append(f"  with it come {some(list(params))}")
    if ignored:
        lines.append(f"  the model has no use of {some(ignored)}")
    if opened.base is None and (named := opened.config.about.get("base_model_name_or_path")):
        lines.append(f"  it says it is of {named!r}; no digest tells whether this base is that one")
    return tuple(lines)
