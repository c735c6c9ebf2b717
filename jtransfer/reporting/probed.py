"""The page of probes of a model's stages, or of episodes of a few shots, and the figure of either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from jtransfer.core import pages
from jtransfer.reporting import written
from jtransfer.reporting.drawing import BAD, HELD, INK, STYLE, TEST, TRAIN, svg
from jtransfer.runs.few_shots import Shots
from jtransfer.runs.probing import Curve


def render(found: Curve | Shots, source: str) -> str:
    """Returns the page.

    Args:
      found: What the probes have found.
      source: What they are of, as it is told to a reader.
    """
    environment = pages.environment(Path(__file__).parent, **written.FILTERS)
    return environment.get_template("probed.html.jinja").render(
        found=found,
        source=source,
        rows=[_row(point) for point in found.points],
        test=_tested(found),
        few=isinstance(found, Shots),
        figure=Markup(svg(draw(found), "Accuracy of the probe of each stage")),
    )


def draw(found: Curve | Shots, *, style: bool = True) -> Figure:
    """Returns the accuracy of each stage, in the model's order, with its interval; a line for each number of shots.

    Args:
      found: What the probes have found.
      style: Whether it is for a page, whose style sheet gives the colours; otherwise they are matplotlib's own.
    """
    with matplotlib.rc_context(STYLE if style else {}):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axis = figure.subplots()
        stages = list(dict.fromkeys(point.stage for point in found.points))
        series: dict[Any, list] = {}
        for point in found.points:
            series.setdefault(getattr(point, "shots", None), []).append(point)
        for number, (shots, own) in enumerate(series.items()):
            colour = (TEST, HELD, TRAIN, BAD, INK)[number % 5] if style else f"C{number}"
            _line(axis, stages, own, colour, "" if shots is None else f"{shots} shots")
        axis.set_xticks(range(len(stages)), stages, rotation=30 if len(stages) > 8 else 0)
        axis.set(ylabel="accuracy")
        if isinstance(found, Shots):
            axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK if style else "black")
        return figure


def _line(axis: Any, stages: Sequence[str], points: Sequence[Any], colour: str, label: str) -> None:
    values = np.array([point.accuracy for point in points])
    low, high = np.array([point.interval for point in points]).T
    places = [stages.index(point.stage) for point in points]
    apart = np.maximum([values - low, high - values], 0)
    axis.errorbar(places, values, apart, color=colour, marker="o", markersize=4, capsize=3, label=label or None)


def _row(point: Any) -> dict[str, Any]:
    return {"setting": "", "shots": "", **point._asdict()}


def _tested(found: Curve | Shots) -> list[dict[str, Any]]:
    if isinstance(found, Shots):
        return [_row(point) for point in found.test]
    return [{"stage": found.best, "shots": "", **found.test}] if found.test else []
