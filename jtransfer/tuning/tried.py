"""What was tried in a choice, in its folder: tried.json, with which a choice goes on."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.runs import filling, json_file
from jtransfer.runs import folder as folders
from jtransfer.tuning.candidates import Candidate
from jtransfer.tuning.setting import Setting


class Result(NamedTuple):
    """What a candidate has come to.

    Attributes:
      name: Of the candidate.
      rounds: In how many rounds it was trained.
      steps: Of training.
      seconds: With all preparation.
      value: The best value of the metric on the validation split; None where there is none.
      loss: On the validation split there.
      curve: (step, value)….
      why: Why it was left out, in words; "" where it was not.
    """

    name: str
    rounds: int = 0
    steps: int = 0
    seconds: float = 0.0
    value: float | None = None
    loss: float | None = None
    curve: Sequence[Sequence[float]] = ()
    why: str = ""


def _stated(made: Setting, found: Sequence[Candidate]) -> dict[str, Any]:
    config = json.loads(made.run.config.to_json())
    return {"config": config, "budget": str(made.budget), "candidates": [one.name for one in found]}


def keep(made: Setting, found: Sequence[Candidate], results: Mapping[str, Result]) -> None:
    made.folder.mkdir(parents=True, exist_ok=True)
    held = {"train": made.train, "validation": made.validation, "metric": made.metric, "held": made.held}
    content = {**_stated(made, found), **held, "results": [one._asdict() for one in results.values()]}
    whole_file.write(made.folder / folders.TRIED, json.dumps(content, indent=1).encode())


def kept(made: Setting, found: Sequence[Candidate]) -> dict[str, Result]:
    path = made.folder / folders.TRIED
    if whole_file.problem(path) == "is missing":
        return {}
    content = json_file.read(path)
    stated = {name: content.get(name) for name in ("config", "budget", "candidates")}
    if changed := filling.differences(stated, _stated(made, found)):
        raise InputError(f"{made.folder} holds another choice; take another workdir. {'; '.join(changed)}")
    return {one["name"]: Result(**{**one, "curve": tuple(map(tuple, one["curve"]))}) for one in content["results"]}
