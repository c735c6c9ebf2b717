"""Whether decay towards the parameters that a run began with moves anything."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError


def check(run: Any, variables: Mapping[str, Any]) -> None:
    """Checks that what `optim.l2sp` draws back is trained in some phase.

    Raises:
      InputError: it is not.
    """
    asked = [phase for phase in run.phases if phase.optim["l2sp"]]
    for phase in asked:
        decays = trees.flatten(rules.match(phase.optim["l2sp_rules"], variables, name="optim.l2sp_rules"))
        if any(moves and decays[path] for path, moves in trees.flatten(phase.trainable).items()):
            return
    if asked:
        raise InputError("optim.l2sp: no phase trains a parameter that optim.l2sp_rules draws back; set optim.l2sp=0")
