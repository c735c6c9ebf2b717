"""A choice from a config to the winner's config, in a folder."""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.runs import build, lock, stored
from jtransfer.runs import folder as folders
from jtransfer.tuning import config_text, halving, scored, setting, why
from jtransfer.tuning.candidates import STRATEGIES, Candidate
from jtransfer.tuning.setting import Setting
from jtransfer.tuning.tried import Result

WINNER, CURVES = "winner.py", "curves.svg"


class Advice(NamedTuple):
    """What a choice has come to.

    Attributes:
      name: Of the winner, as "finetune@0.001".
      config: Of the winner's run, complete but for defaults.
      results: What each candidate has come to, the best first.
      lines: Why, in words.
      file: The winner's config as a file that runs alone.
    """

    name: str
    config: Any
    results: list[Result]
    lines: list[str]
    file: str


def advise(config: Any, folder: str | os.PathLike, budget: str = "") -> Advice:
    """Returns how pretrained weights are best used for a config's data, by short runs in `folder`/auto.

    Candidates are trained by successive halving and compared on the validation split or, where the config names none,
    on a part of the training split. The test split is not looked at. The same call goes on where it was stopped.

    Args:
      config: A config; its `phases` do not matter, and `init` names the pretrained weights.
      folder: Where the runs go, in a folder "auto".
      budget: "10m", "600 steps" or "20000 examples"; "" is `config.auto.budget`.

    Raises:
      InputError: The config, its data or the budget is wrong, or the folder holds another choice.
    """
    place = os.path.join(folder, folders.AUTO)
    made, found = setting.setting(config, place, budget)
    _check(made, found, folder)
    with lock.hold(place):
        results = halving.run(made, found)
    order = halving.order(made, found, results)
    best = order[0]
    chosen = setting.winner(made, best, results[best.name].steps)
    content = json.loads((made.folder / folders.TRIED).read_text())
    scores = content["scores"] if "scores" in content else list(scored.lines(made))
    size, *rest = why.lines(made, order, results)
    lines = [size, *scores, *rest]
    file = made.folder / WINNER
    config_text.write(file, chosen, f"Chosen by jtransfer.advise: {best.name}. {lines[0]}.")
    whole_file.write(made.folder / CURVES, why.figure(made, results))
    content |= {"winner": best.name, "lines": lines, "scores": scores}
    whole_file.write(made.folder / folders.TRIED, json.dumps(content, indent=1).encode())
    return Advice(best.name, chosen, [results[one.name] for one in order], lines, str(file))


def _check(made: Setting, found: Sequence[Candidate], folder: str | os.PathLike) -> None:
    """Refuses a folder of something else; before a new choice, checks all that may be wrong with a run, and says what
    is odd of its data."""
    if (made.folder / folders.TRIED).exists():
        return
    place = epath.Path(folder)
    if (place / stored.CONFIG).exists():
        raise InputError(f"{folder} holds a run whose strategy was not chosen; take another workdir")
    if place.exists() and any(one.name not in (folders.AUTO, lock.FILE) for one in place.iterdir()):
        raise InputError(f"{folder} is not empty and holds no choice; take another workdir")
    likely = max(found, key=lambda one: STRATEGIES[one.strategy].transfers and not one.fields.get("adapters"))
    build.prepare(setting.winner(made, likely, 2 * made.every), f"{made.folder}/.none")


def resolved(config: Any, folder: str | os.PathLike) -> Any:
    """Returns the config of a run: itself or, where its phases are "auto", the winner of `advise`, which is told."""
    if config["phases"] != "auto":
        return config
    found = advise(config, folder)
    say("\n".join([*found.lines, f"the config: {found.file}"]))
    return found.config
