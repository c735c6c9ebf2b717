"""Of a report, what a fused model was made of, and the curve by which its place between two models was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from jtransfer.reporting import figures
from jtransfer.runs.open import StoredRun

_EVENT, _PLACE = "fuse", "alpha"


def describe(run: StoredRun, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns "fused": how, of which sources, and the rows and figure of the curve; None of what was not fused."""
    line = next((one for one in reversed(lines) if one.get("event") == _EVENT), None)
    if line is None:
        return {"fused": None}
    rows = [row for row in line.get("curve", ()) if isinstance(row, dict) and _PLACE in row]
    metric, chosen = run.metric(line.get("metric", "")), line.get("fields", {}).get(_PLACE)
    names = [name for name in rows[0] if name != _PLACE] if rows else []
    return {
        "fused": {
            "how": line.get("how", ""),
            "sources": [str(source) for source in line.get("sources", ())],
            "base": line.get("base", ""),
            "protocol": line.get("protocol", ""),
            "metric": metric.title,
            "kind": metric.kind,
            "names": names,
            "chosen": chosen,
            "rows": [{"place": row[_PLACE], "values": [row.get(name) for name in names]} for row in rows],
            "figure": Markup(figures.places(rows, metric.title, chosen)) if rows and chosen is not None else None,
        }
    }
