"""Names in a config as the registries have them: what others call `crossentropy` or `Adam` is taken, and told."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jtransfer import objectives, peft, tracking
from jtransfer.core.registry import Registry
from jtransfer.evaluators import EVALUATORS
from jtransfer.modalities import MODALITIES
from jtransfer.objectives import gradients
from jtransfer.tasks import TASKS
from jtransfer.training import noise, optim
from jtransfer.training.schedules import SCHEDULES

Told = Callable[[str], None]


def settled(full: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a config with canonical names, and a line for each name that was another.

    A name that no registry has stays; whoever asks the registry for it is told.

    Args:
      full: All fields, as plain dicts.
    """
    lines: list[str] = []

    def named(where: str, registry: Registry, value: Any, at: int = 0) -> Any:
        """A name, or an entry that has one at its place `at`."""
        if isinstance(value, list | tuple) and len(value) > at:
            return (*value[:at], named(where, registry, value[at]), *value[at + 1 :])
        found = registry.canonical(value) if isinstance(value, str) and value else value
        if found != value:
            lines.append(f"config.{where}={value!r} is taken for {found!r}")
        return found

    def optimizer(where: str, section: Mapping[str, Any]) -> dict[str, Any]:
        kinds = {"name": optim.optimizers(), "schedule": SCHEDULES}
        return {**section, **{k: named(f"{where}.{k}", kinds[k], section[k]) for k in kinds if k in section}}

    def entries(where: str, registry: Registry, at: int = 0) -> list | tuple:
        values = full[where]
        return type(values)(named(f"{where}[{i}]", registry, value, at) for i, value in enumerate(values))

    def stream(where: str, section: Mapping[str, Any]) -> dict[str, Any]:
        kinds = {"task": TASKS, "modality": MODALITIES}
        return {**section, **{key: named(f"{where}{key}", kinds[key], section[key]) for key in kinds}}

    changed = {
        **stream("", full),
        "loss": {**full["loss"], "name": named("loss.name", objectives.LOSSES, full["loss"]["name"])},
        "optim": optimizer("optim", full["optim"]),
        "multitask": named("multitask", gradients.METHODS, full["multitask"]),
        "objective": entries("objective", objectives.TERMS),
        "noise": entries("noise", noise.NOISES),
        "adapters": entries("adapters", peft.METHODS, at=1),
        "trackers": tuple(
            (named("trackers", tracking.TRACKERS, name), own) if own else named("trackers", tracking.TRACKERS, name)
            for name, own in tracking.entries(full["trackers"])
        ),
        "streams": {name: stream(f"streams.{name}.", section) for name, section in full["streams"].items()},
    }
    return {**changed, **dict(_lists(full, named, optimizer))}, lines


def _lists(full: Mapping[str, Any], named: Callable, optimizer: Callable) -> Iterator[tuple[str, list]]:
    """The fields that are lists of sections."""
    evals, phases = enumerate(full["evals"]), full["phases"]
    yield "evals", [{**one, "name": named(f"evals[{i}].name", EVALUATORS, one["name"])} for i, one in evals]
    if not isinstance(phases, str):
        made = (optimizer(f"phases[{i}].optim", one["optim"]) for i, one in enumerate(phases))
        yield "phases", [{**one, "optim": optim} for one, optim in zip(phases, made, strict=True)]
