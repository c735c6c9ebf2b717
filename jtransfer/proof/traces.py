"""What the stages of a model give, watched in a torch module that holds the same parameters under other names."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from jtransfer.core import rules
from jtransfer.weights import maps
from jtransfer.weights.mapping import Assignment, best
from jtransfer.weights.shapes import abstract

_NEVER_CALLED = ("NoneType", "ModuleList", "ModuleDict")
Seen = dict[str, list[np.ndarray]]


@contextmanager
def record(module: Any, model: Any) -> Iterator[Seen]:
    """Watches a call of a torch module, and yields a dict that the call fills with what the stages of a model give.

    For each stage's name, and for "features", which is what the head takes, it lists arrays that may be what the stage
    gives: what the module returns that holds the last of the stage's tensors, and what the first module takes that
    holds some of the next stage's. The latter is left out where that module takes maps whose places are flattened, in
    another order than here. An array with four axes is listed as it is, and with the second axis as the last.

    Args:
      module: a `torch.nn.Module` with the model's parameters under the names of a scheme.
      model: a model of `jtransfer.models`.
    """
    seen, begun, hooks = {}, set(), []
    modules, stages = dict(module.named_modules()), model.stages
    rows = assignments(module, model)
    held = _held(rows)
    flattened = {name.rpartition(".")[0] for a in rows if a.transform.axis for name in a.source_names}

    def keep(stage: str, value: Any) -> None:
        array = _array(value)
        if array is not None:
            seen.setdefault(stage, []).extend([array, array.transpose(0, 2, 3, 1)] if array.ndim == 4 else [array])

    def on_entry(stage: str, name: str):
        def hook(_, args, kwargs):
            first = stage not in begun and stage != stages[0]
            begun.add(stage)
            if first and name not in flattened:
                keep(stages[stages.index(stage) - 1], args[0] if args else kwargs.get("hidden_states"))

        return hook

    for stage, inside in held.items():
        for name in dict.fromkeys(map(".".join, inside)):
            if name in modules:
                hooks.append(modules[name].register_forward_pre_hook(on_entry(stage, name), with_kwargs=True))
    for stage, name in _last(held, modules).items():
        if stage != "head":
            hooks.append(modules[name].register_forward_hook(lambda _, args, given, stage=stage: keep(stage, given)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
    if stages[-2] in seen:
        seen["features"] = seen[stages[-2]]


def assignments(module: Any, model: Any) -> tuple[Assignment, ...]:
    """Returns which tensors of a torch module fill which parameters of a model; arguments as for `record`."""
    names, paths = dict(module.state_dict()), rules.names(abstract(model)).values()
    return best(maps.schemes(model), names, paths).assignments


def _held(assignments: Iterable[Assignment]) -> dict[str, list[list[str]]]:
    """Stage → the parts of the names of the modules that hold its tensors; of copies, the first."""
    found: dict[str, list[list[str]]] = {}
    for names, paths, _ in assignments:
        for name in names[:1] if len(paths) == 1 else names:
            for stage in dict.fromkeys(path.split("/")[0] for path in paths):
                found.setdefault(stage, []).append(name.split(".")[:-1])
    return found


def _last(held: Mapping[str, list[list[str]]], modules: Mapping[str, Any]) -> dict[str, str]:
    """Stage → the outermost module that holds the last of its tensors, and all those of no other stage.

    Where that has no modules inside, it must hold all of the stage or be a dense layer: norms and convolutions have
    activations after them that are no modules.
    """
    found = {}
    for stage, inside in held.items():
        last, others = inside[-1], [held[other] for other in held if other != stage]
        for n in range(1, len(last) + 1):
            name = ".".join(last[:n])
            module = modules[name]
            if type(module).__name__ in _NEVER_CALLED or any(_within(last[:n], parts) for parts in others):
                continue
            dense = getattr(getattr(module, "weight", None), "ndim", 0) == 2
            if any(module.children()) or _within(last[:n], inside) or dense:
                found[stage] = name
            break
    return found


def _within(prefix: list[str], modules: list[list[str]]) -> bool:
    return all(parts[: len(prefix)] == prefix for parts in modules)


def _array(value: Any) -> np.ndarray | None:
    """What a module takes or gives, if it is an array of numbers."""
    value = value[0] if isinstance(value, tuple) and value else getattr(value, "last_hidden_state", value)
    floats = hasattr(value, "is_floating_point") and value.is_floating_point()
    return value.detach().float().numpy().copy() if floats else None
