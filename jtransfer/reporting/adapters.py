"""What a report says of a run's adapters: which modules carry them, their share, and how far each moves its module."""

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line, say
from jtransfer.reporting import figures
from jtransfer.runs.open import StoredRun

_LONGEST = 2000  # characters of a line
_SERIES = 8  # lines of the figure, at most


def describe(run: StoredRun) -> dict[str, Any]:
    """Returns what the report says of adapters, under "adapters"; None where there are none, or they can't be read."""
    if not run.config.adapters:
        return {"adapters": None}
    try:
        variables = run.variables()
    except InputError as error:
        say(one_line(f"report: no adapters are shown: {error}", _LONGEST), sys.stderr)
        return {"adapters": None}
    held, params = variables.get("adapters", {}), variables["params"]
    found, moved = list(peft.adapted(held)), peft.norms(params, held)
    total = trees.count(params) + sum(one.count for one in found)
    return {
        "adapters": {
            "rows": _rows(found, moved, total),
            "trained": sum(one.count for one in found),
            "share": sum(one.count for one in found) / max(total, 1),
            "figure": Markup(figures.depths(*_by_depth(moved))) if moved else None,
        }
    }


def _rows(found: Sequence[peft.Adapted], moved: Mapping[str, peft.Norms], total: int) -> list[dict[str, Any]]:
    """A row for each kind of module and adapter."""
    kinds: dict[tuple, list[peft.Adapted]] = defaultdict(list)
    for one in found:
        kinds[peft.kind(one.path), one.slot, one.rank].append(one)
    return [
        {
            "modules": path if len(alike) > 1 else alike[0].path,
            "number": len(alike),
            "method": slot,
            "rank": rank,
            "params": (params := sum(one.count for one in alike)),
            "share": params / max(total, 1),
            "moved": _mean([_relative(moved[one.path]) for one in alike if one.path in moved]),
        }
        for (path, slot, rank), alike in kinds.items()
    ]


def _by_depth(moved: Mapping[str, peft.Norms]) -> tuple[list[str], dict[str, list[float | None]]]:
    """The names of the layers in order, and for each module of a layer, by its name, how far it is moved in each."""
    points: dict[str, dict[str, float]] = defaultdict(dict)
    for path, norms in moved.items():
        layer, module = _split(path)
        points[module][layer] = _relative(norms)
    layers = sorted({layer for series in points.values() for layer in series}, key=_natural)
    most = sorted(points, key=lambda module: -len(points[module]))[:_SERIES]
    return layers, {module: [points[module].get(layer) for layer in layers] for module in most}


def _split(path: str) -> tuple[str, str]:
    """("layer_3", "attention/query"): the path up to the last name with a number before the module's own name."""
    keys = path.split("/")
    last = max((i for i, key in enumerate(keys[:-1]) if re.search(r"\d", key)), default=0)
    return "/".join(keys[: last + 1]), "/".join(keys[last + 1 :]) or keys[-1]


def _natural(path: str) -> list[tuple[str, int]]:
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", path)]


def _relative(norms: peft.Norms) -> float:
    return norms.change / norms.before if norms.before else norms.change


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
