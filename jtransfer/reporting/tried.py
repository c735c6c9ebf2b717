"""Of a report, what was tried before the run whose strategy was chosen: `config.phases = "auto"`."""

from typing import Any

from jtransfer.core import whole_file
from jtransfer.runs import folder as folders
from jtransfer.runs import json_file
from jtransfer.runs.open import StoredRun


def describe(run: StoredRun) -> dict[str, Any]:
    """Returns "tried": the rows of what was tried, the best first, and the lines that say why; None where nothing was
    chosen."""
    path = run.folder / folders.AUTO / folders.TRIED
    if whole_file.problem(path) == "is missing":
        return {"tried": None}
    content = json_file.read(path)
    if "winner" not in content:
        return {"tried": None}
    found = sorted(content["results"], key=lambda one: (one["name"] != content["winner"], -one["rounds"]))
    rows = [{name: one[name] for name in ("name", "rounds", "steps", "seconds", "value", "why")} for one in found]
    first, last = content["lines"][0], content["lines"][-1]
    return {"tried": {"rows": rows, "metric": content["metric"], "data": first, "verdict": last}}
