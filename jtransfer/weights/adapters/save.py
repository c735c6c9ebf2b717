"""Adapters as folders that Hugging Face's PEFT loads, with the model's own parameters that were trained beside them."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer import peft
from jtransfer.core import rules
from jtransfer.core.errors import InputError, some
from jtransfer.models.paths import in_head
from jtransfer.peft import slots
from jtransfer.weights import libraries, maps
from jtransfer.weights.adapters import base, forms, keep, modules, parts, prompts
from jtransfer.weights.adapters.config import FILE
from jtransfer.weights.adapters.folder import TENSORS
from jtransfer.weights.mapping import Scheme
from jtransfer.weights.save import WRITERS
from jtransfer.weights.shapes import abstract, example

V4 = "transformers 4"
_TASKS = {"classify": "SEQ_CLS", "tag": "TOKEN_CLS", "lm": "CAUSAL_LM", "embed": "FEATURE_EXTRACTION"}
Adapter = tuple[str, str, dict[str, Any]]  # path of the layer, method, arrays


def save(
    folder: Path,
    model: Any,
    variables: Mapping[str, Any],
    *,
    beside: Collection[str] = (),
    source: str = "",
    library: str = "",
    sample: Any = None,
) -> list[str]:
    """Writes the adapters of a model into a folder, each in one of its own where there are several.

    Args:
      folder: which exists and is empty.
      model: the base.
      variables: {"params": …, "batch_stats": …, "adapters": …}.
      beside: paths of the model's own parameters, without the collection, that are not the base's; they go along as
        `modules_to_save`.
      source: the address of the base.
      library: whose names the modules have: "transformers", which are those of version 5; "transformers 4"; "timm";
        "torchvision". By default the first that has the model.
      sample: an input to trace the model with.

    Returns:
      Lines that say what was written.

    Raises:
      InputError: PEFT, or the library, has no such adapter, or no module for a parameter.
    """
    found: dict[str, list[Adapter]] = {}
    for path, slot, own in slots.split(variables.get("adapters", {})):
        found.setdefault(slot, []).append((path, slot.partition(".")[0], own))
    if not found:
        raise InputError("there are no adapters to write; export the model in another format")
    for method in (slot.partition(".")[0] for slot in found):
        if method not in prompts.METHODS:
            forms.check(method)
    scheme = _scheme(model, library)
    if unfit := _other_head(model, scheme):
        beside = [path for path in beside if not in_head(path)]
    shapes = abstract(model, sample)
    sites = peft.sites(model, shapes, example(model) if sample is None else sample)
    known = modules.named(scheme, sites)
    own = {name: tree for name, tree in variables.items() if name in rules.OWN}
    lines: list[str] = []
    record: base.Base | None = None
    for number, (slot, adapters) in enumerate(found.items()):
        place = folder if len(found) == 1 else folder / (slot.partition(".")[2] or slot)
        place.mkdir(exist_ok=True)
        prompted = adapters[0][1] in prompts.METHODS
        config, tensors = prompts.write(adapters, sites, shapes["params"]) if prompted else _adapter(adapters, known)
        along = () if number else beside
        kept = keep.tensors(model, own, scheme, along, config.get("target_modules", ()), config["peft_type"])
        content = _about(model, source, prompted or any(map(in_head, along))) | config | kept.fields
        if prompted:
            del content["bias"]
        (place / FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        whole = {name: np.asarray(array, order="C") for name, array in (tensors | kept.tensors).items()}
        WRITERS["safetensors"](whole, place / TENSORS[0])
        record = record or base.of(own, source, kept.paths)
        base.write(place, record)
        lines += [f"the head is left out: {unfit}"] if unfit and not number else []
        lines.append(f"{config['peft_type']} on {len(adapters)} layers, by the names of {scheme.name}{kept.told}")
    return lines


def _scheme(model: Any, library: str) -> Scheme:
    """The names of a library's modules."""
    maps.family(model)
    if not library:
        return _scheme(model, _first(model))
    if library == "transformers":  # the modules of version 5 have other names than its files, in some families
        for scheme in maps.schemes(model):
            if scheme.name.startswith("transformers") and "modules" in scheme.name:
                return scheme
    return libraries.scheme(model, library.split()[0])


def _other_head(model: Any, scheme: Scheme) -> str:
    """Why the classifier of texts that transformers has is not the model's; "" where it is, or for other models."""
    if not scheme.name.startswith("transformers") or not _takes_texts(model):
        return ""
    try:
        libraries.transformers("", model, ())
    except InputError as error:
        return str(error)
    return ""


def _takes_texts(model: Any) -> bool:
    return "text" in getattr(model, "takes", ())


def _first(model: Any) -> str:
    """The first library that has a model."""
    for library in ("transformers", "timm"):
        try:
            getattr(libraries, library)("", model, ())
            libraries.scheme(model, library)
        except InputError:
            continue
        return library
    return next(iter(maps.schemes(model))).name


def _about(model: Any, source: str, headed: bool) -> dict[str, Any]:
    """What says of which base and task it is; PEFT asks for the head of an adapter that is of a task with classes."""
    head = getattr(model, "head", "") if _takes_texts(model) else ""
    task = _TASKS.get(head) if headed or head not in libraries.LABELLED else None
    if task == "CAUSAL_LM" and hasattr(model, "decoder_depth"):
        task = "SEQ_2_SEQ_LM"
    return {
        "auto_mapping": None,
        "base_model_name_or_path": source.removeprefix("hf://") or None,
        "bias": "none",
        "inference_mode": True,
        "revision": None,
        "task_type": task,
    }


def _adapter(
    adapters: Sequence[Adapter], known: Mapping[str, modules.Named]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The method's part of adapter_config.json, and the tensors by name."""
    owner = {site.path: name for name, module in known.items() for site in module.sites}
    of_module: dict[str, dict[str, Any]] = {}
    methods = {method for _, method, _ in adapters}
    for path, _, own in adapters:
        if path not in owner:
            raise InputError(f"{path}: the library has no module for this layer alone, so PEFT can't adapt it")
        of_module.setdefault(owner[path], {})[path] = own
    located = {name: modules.locate(known[name]) for name in of_module}
    if odd := [name for name, module in located.items() if module is None]:
        raise InputError(f"{some(odd)}: its kernel has another form in the library, and can't be adapted there")
    whole = {name: module for name, module in located.items() if module is not None}
    (method,) = methods
    if method in forms.LORA:
        return _lora(whole, of_module, method)
    return forms.write(method, whole, of_module)


def _lora(
    located: Mapping[str, modules.Module], owns: Mapping[str, Mapping[str, Any]], method: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    tensors, ranks, alphas = {}, {}, {}
    for name, module in located.items():
        own = [owns[name].get(part.site.path) for part in module.parts]
        arrays, rank, scale = forms.lora.write(module, own)
        tensors |= {parts.written(name, kind): array for kind, array in arrays.items()}
        ranks[name], alphas[name] = rank, _plain(scale * rank)
    r, alpha = _usual(ranks), _usual(alphas)
    rates = {float(own[peft.FIXED].get("dropout", 0)) for each in owns.values() for own in each.values()}
    return {
        "peft_type": "LORA",
        "target_modules": sorted(located),
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": round(max(rates), 6),
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != r},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
        "use_dora": method == "dora",
        "use_rslora": False,
        "init_lora_weights": True,
        "fan_in_fan_out": any(module.fan_in_fan_out for module in located.values()),
    }, tensors


def _plain(alpha: float) -> float | int:
    """A scale times a rank without what float32 rounded off."""
    near = float(f"{alpha:.6g}")
    return int(near) if near == int(near) else near if abs(near - alpha) <= 1e-6 * abs(alpha) else alpha


def _usual(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]
