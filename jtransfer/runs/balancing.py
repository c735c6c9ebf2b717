"""How the gradients of a run's tasks make one."""

from collections.abc import Mapping
from typing import Any

from jtransfer import objectives
from jtransfer.core import fields
from jtransfer.core.errors import InputError
from jtransfer.objectives.gradients import METHODS, Method
from jtransfer.training import multitask


def method(config: Any, objective: objectives.Objective) -> Method | None:
    """Returns the method that `config.multitask` asks for; None adds the gradients up.

    Raises:
      InputError: no such method or field, or no several tasks in a step.
    """
    asked = config.multitask
    if not asked:
        return None
    name, given = (asked, {}) if isinstance(asked, str) else (*asked, {})[:2]
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise InputError(f"multitask={asked!r}: give a name, or (name, {{fields}})")
    if config.mixing.mode == "alternate":
        raise InputError(f"multitask={name!r} compares tasks in each step; set mixing.mode='batch'")
    multitask.tasks(objective)
    build = METHODS[name]
    fields.check("multitask", "multi-task method", name, build, given, skip=0)
    return build(**given)
