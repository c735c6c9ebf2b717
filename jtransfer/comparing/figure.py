"""The plot of a comparison: learning curves, or each setting's metric with its interval."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jtransfer.comparing.table import Row
from jtransfer.metrics import Metric
from jtransfer.reporting.drawing import BAD, HELD, INK, MUTED, STYLE, TEST, TRAIN

COLOURS = (TRAIN, TEST, HELD, BAD, MUTED, INK)


def draw(rows: Sequence[Row], metric: Metric, *, style: bool = True) -> Figure:
    """Returns the plot.

    Args:
      rows: Of the table.
      metric: By which settings are compared.
      style: Whether it is for a page, whose style sheet gives the colours; otherwise they are matplotlib's own.
    """
    with matplotlib.rc_context(STYLE if style else {}):
        names = list(dict.fromkeys(row.name for row in rows))
        colours: Sequence[str] = COLOURS if style else [f"C{i}" for i in range(10)]
        if len({row.labels for row in rows}) > 1:
            return _curves(rows, names, metric, colours)
        return _points(rows, metric, colours[1])


def _curves(rows: Sequence[Row], names: Sequence[str], metric: Metric, colours: Sequence[str]) -> Figure:
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        own = sorted((row for row in rows if row.name == name), key=lambda row: row.labels)
        colour, sizes = colours[number % len(colours)], [row.labels for row in own]
        axes.plot(sizes, [row.mean for row in own], label=name, color=colour, marker="o", markersize=4)
        low, high = (np.array([getattr(row, side) for row in own]) for side in ("low", "high"))
        axes.fill_between(sizes, low, high, color=colour, alpha=0.18, linewidth=0)
    sizes = sorted({row.labels for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel(metric.title)
    axes.legend(loc="best")
    return figure


def _points(rows: Sequence[Row], metric: Metric, colour: str) -> Figure:
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    means = np.array([row.mean for row in rows])
    widths = np.array([[row.mean - row.low for row in rows], [row.high - row.mean for row in rows]])
    axes.errorbar(means, places, xerr=np.maximum(widths, 0), fmt="o", color=colour, capsize=3, markersize=5)
    axes.set_yticks(places, [row.name if len(row.name) <= 60 else f"{row.name[:59]}…" for row in rows])
    axes.set_xlabel(metric.title)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    return figure
