"""What of a config may change while its run goes on: what changes none of its numbers (`config.CHANGEABLE`)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jtransfer.core.show import say
from jtransfer.runs import config as configs
from jtransfer.runs import evaluation, filling, lengths
from jtransfer.runs import folder as folders
from jtransfer.runs.position import Position

Run = Any  # build.Run
_LENGTHS = ("steps", "epochs")  # of a phase


def judge(run: Run, old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Returns the differences of two configs that are taken, and those that are not, a line each.

    Args:
      run: What the new config describes, in the folder of the run that goes on.
      old: The config of that run, as plain JSON.
      new: The new config likewise.
    """
    taken, refused = [], []
    before, after = (one.pop("phases") for one in (old, new))
    for line in filling.differences(old, new):
        free, said = _asked(run, line.partition(": ")[0])
        (taken if free else refused).append(_with(line, said))
    others, lengthened = _of_phases(before, after)
    if lengthened and not others and not refused:
        why = lengths.why_not(run, [{name: phase[name] for name in _LENGTHS} for phase in before])
        (refused if why else taken).extend(_with(line, why) for line in lengthened)
    else:
        refused += lengthened
    return taken, refused + others


def _with(line: str, said: str) -> str:
    return f"{line} ({said})" if said else line


def _asked(run: Run, field: str) -> tuple[bool, str]:
    """Whether a field may change, and what is to be said of that."""
    if field == "eval_every":
        split = evaluation.deciding(run)
        return not split, f"evaluations of {split} choose the model, or end the training" if split else ""
    own = re.sub(r"^streams\.\w+\.", "", field)
    notes = [note for name, note in configs.CHANGEABLE.items() if _is_of(own, name)]
    return bool(notes), "".join(notes)


def _is_of(field: str, name: str) -> bool:
    return field == name or field.startswith(f"{name}.")


def _of_phases(before: Sequence[Mapping], after: Sequence[Mapping]) -> tuple[list[str], list[str]]:
    """The differences of phases but for lengths, and those of lengths, to which new phases at the end belong."""
    if len(after) < len(before):
        return filling.differences({"phases": before}, {"phases": after}), []
    lines = filling.differences({"phases": before}, {"phases": after[: len(before)]})
    lengthened = [line for line in lines if line.partition(": ")[0].rpartition(".")[2] in _LENGTHS]
    more = [f"phases[{i}]: none → {dict(after[i])['name']!r}" for i in range(len(before), len(after))]
    return [line for line in lines if line not in lengthened], lengthened + more


def reopened(run: Run, position: Position, step: int) -> Position:
    """Returns where a run is whose phase had ended and has more steps now; any other position as it is.

    A phase that stopped early stays ended.
    """
    patience = run.config.early_stop.patience
    early = patience and position.stale >= patience
    goes_on = position.done and not early and step - position.start < run.phases[position.number].steps
    return position._replace(done=False) if goes_on else position


def write(run: Run, writer: Any, position: Position, step: int, changed: list[str]) -> None:
    """Says, logs and stores what a run goes on with; the config before is kept."""
    if jax.process_index() == 0:
        for line in changed:
            say(f"goes on with {line}")
    writer.event(step, position.phase, "changed", fields=changed)
    folders.change(run.folder, run.config)
