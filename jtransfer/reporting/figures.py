"""The figures of a report."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from jtransfer.metrics import Calibration
from jtransfer.reporting.drawing import BAD, BAND, HELD, INK, MUTED, STYLE, TEST, TRAIN, svg

_NAMED = 120  # classes of a matrix whose names are written
_LONGEST_NAME = 22  # characters


class Span(NamedTuple):
    """A phase's name, and the steps it starts and ends at."""

    name: str
    start: int
    end: int


def curves(lines: Sequence[dict], spans: Sequence[Span], metric: tuple[str, str] = ("accuracy", "Accuracy")) -> str:
    """Loss, a metric (its name and title) and the learning rate over the steps, the phases marked by bands."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.2), layout=ConstrainedLayoutEngine(h_pad=0.1))
        places = figure.subplot_mosaic([["loss", "metric"], ["rate", "rate"]], height_ratios=(2.4, 1))
        asked = {"loss": ("Loss", "loss"), "metric": (metric[1], metric[0]), "rate": ("Learning rate", "learning_rate")}
        for place, (title, name) in asked.items():
            axis = places[place]
            _bands(axis, spans, named=place != "rate")
            _series(axis, lines, name)
            axis.set_title(title)
            axis.yaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if place != "rate" and axis.get_legend_handles_labels()[1]:
                axis.legend(loc="best", handlelength=1.4, labelcolor=INK)
        places["rate"].set_xlabel("step")
        places["rate"].set_ylim(bottom=0)
        places["rate"].yaxis.set_major_formatter("{x:g}")
        return svg(figure, f"Loss, {metric[1].lower()} and learning rate over the steps")


def speeds(lines: Sequence[dict], spans: Sequence[Span]) -> str:
    """Training examples per second over the steps, a panel with a scale of its own for each phase; "" of none."""
    name = "examples_per_second"
    found = {
        span: [
            line for line in lines if line.get("phase") == span.name and line.get("split") == "train" and name in line
        ]
        for span in spans
    }
    found = {span: own for span, own in found.items() if own}
    if not found:
        return ""
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(found))
        rows = -(-len(found) // columns)
        figure = Figure(figsize=(10, 0.4 + 1.7 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis, (span, own) in zip(axes, found.items(), strict=False):
            _series(axis, own, name)
            axis.set_title(span.name)
            axis.set_ylim(bottom=0)
            axis.set_xlabel("step")
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        for axis in axes[len(found) :]:
            axis.set_axis_off()
        return svg(figure, "Training examples per second in each phase")


def runs(series: Mapping[str, Sequence[tuple[int, float]]], title: str) -> str:
    """A metric of several runs over their steps."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        axis = figure.subplots()
        styles = [(colour, dash) for dash in ("-", "--", ":") for colour in (TEST, HELD, TRAIN, BAD)]
        for number, (name, points) in enumerate(series.items()):
            colour, dash = styles[number % len(styles)]
            axis.plot(*zip(*points, strict=True), dash, label=name, color=colour, marker="o", markersize=3.5)
        axis.set(xlabel="step", ylabel=title)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
        return svg(figure, f"{title} of each run over the steps")


def reliability(calibration: Calibration) -> str:
    """Accuracy against confidence in each bin, and below it how many examples have that confidence."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.8), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        width = 1 / len(calibration.count)
        centre = (np.arange(len(calibration.count)) + 0.5) * width
        full = calibration.count > 0
        confidence, accuracy = calibration.confidence[full], calibration.accuracy[full]
        sure = np.minimum(confidence, accuracy)
        upper.bar(centre[full], sure, width * 0.9, color=TEST, label="accuracy")
        upper.bar(centre[full], accuracy - sure, width * 0.9, sure, color=TEST, alpha=0.45, label="under-confident by")
        upper.bar(centre[full], confidence - sure, width * 0.9, sure, color=BAD, alpha=0.4, label="over-confident by")
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        upper.legend(loc="upper left", labelcolor=INK)
        lower.bar(centre, calibration.count, width * 0.9, color=TRAIN)
        lower.set(xlabel="confidence", ylabel="examples")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return svg(figure, "Accuracy over confidence, and the number of examples of each")


def matrix(shares: np.ndarray, names: Sequence[str] = ()) -> str:
    """`[C, C]` shares of each row, for more classes than a table has room for: hits in one colour, mistakes in another.

    Args:
      shares: of the examples of each true class.
      names: of the classes, which stand beside the rows and columns of up to 120 of them; of more, their numbers do.
    """
    named = len(shares) <= _NAMED and len(names) == len(shares)
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "xtick.major.size": 0, "ytick.major.size": 0}):
        side = 0.115 * len(shares) + 1.6 if named else 6.4
        figure = Figure(figsize=(side + 0.6 * (not named), side), layout="constrained")
        axis = figure.subplots()
        diagonal = np.eye(len(shares), dtype=bool)
        for where, colour, full in ((diagonal, "#2f6fde", 1.0), (~diagonal, "#d0453a", 0.5)):
            shades = LinearSegmentedColormap.from_list("shades", [f"{colour}00", f"{colour}ff"])
            axis.imshow(np.ma.array(shares, mask=~where), cmap=shades, vmin=0, vmax=full, interpolation="nearest")
        if named:
            told = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names]
            axis.set_xticks(range(len(told)), told, rotation=90, fontsize=6)
            axis.set_yticks(range(len(told)), told, fontsize=6)
            axis.set(xlabel="predicted class", ylabel="true class")
        else:
            axis.set(xlabel="predicted class (number)", ylabel="true class (number)")
            axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        return svg(figure, "Confusion matrix: the share of each true class that each class is predicted for")


def depths(layers: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """How far each module is moved in each layer, relative to what it held; a line for each module's name."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        axis = figure.subplots()
        styles = [(colour, dash) for dash in ("-", "--") for colour in (TEST, HELD, TRAIN, BAD)]
        for (name, values), (colour, dash) in zip(series.items(), styles, strict=False):
            points = [np.nan if value is None else value for value in values]
            axis.plot(range(len(layers)), points, dash, label=name, color=colour, marker="o", markersize=3.5)
        every = max(1, -(-len(layers) // 12))
        axis.set_xticks(range(0, len(layers), every), layers[::every])
        axis.set(ylabel="‖ΔW‖ / ‖W‖")
        axis.set_ylim(bottom=0)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
        return svg(figure, "How far the adapters move each module, by layer")


def severities(series: Mapping[str, Mapping[int, float]], title: str) -> str:
    """A metric at each severity of each corruption, from 0, which is none."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3), layout="constrained")
        axis = figure.subplots()
        styles = [(colour, dash) for dash in ("-", "--") for colour in (TEST, HELD, TRAIN, BAD)]
        for (name, values), (colour, dash) in zip(series.items(), styles, strict=False):
            axis.plot(
                *zip(*sorted(values.items()), strict=True), dash, label=name, color=colour, marker="o", markersize=3.5
            )
        axis.set(xlabel="severity", ylabel=title)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
        return svg(figure, f"{title} over the severity of each corruption")


def places(rows: Sequence[Mapping[str, float]], title: str, chosen: float) -> str:
    """A metric at each place between two models, on several sets; the place that was chosen is marked.

    Args:
      rows: "alpha", and the value of each set by its name.
      title: of the metric.
      chosen: the alpha.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3), layout="constrained")
        axis = figure.subplots()
        names = [name for name in rows[0] if name != "alpha"]
        for number, name in enumerate(names):
            points = [(row["alpha"], row[name]) for row in rows]
            axis.plot(*zip(*points, strict=True), label=name, color=(HELD, TEST, TRAIN, BAD)[number % 4], marker="o")
        axis.axvline(chosen, color=MUTED, linestyle=":", label="chosen")
        axis.set(xlabel="alpha", ylabel=title)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
        return svg(figure, f"{title} between the two models that were fused")


def coverage(share: np.ndarray, risk: np.ndarray) -> str:
    """The share of wrong predictions among the surest of the examples, over how many these are."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3), layout="constrained")
        axis = figure.subplots()
        axis.plot(share, risk, color=TEST)
        axis.set(xlabel="coverage", ylabel="risk", xlim=(0, 1))
        axis.set_ylim(bottom=0)
        return svg(figure, "The share of wrong predictions over the share of examples that are predicted")


def terms(lines: Sequence[dict], weights: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """The value of each term in training, and beneath it its weight where that is not the same at all steps.

    Args:
      lines: of the log.
      weights: term → (step, weight)…, one pair of a weight that stays.
    """
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(weights))
        rows = -(-len(weights) // columns)
        figure = Figure(figsize=(10, 2.5 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
        for axis, (name, points) in zip(axes, weights.items(), strict=False):
            _series(axis, [line for line in lines if line.get("split") == "train"], name)
            moves = len(points) > 1
            axis.set_title(name if moves else f"{name} · weight {points[0][1]:g}")
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if moves:
                other = axis.twinx()
                other.grid(visible=False)
                other.plot(*zip(*points, strict=True), color=HELD, linewidth=1.1, linestyle="--")
                other.set_ylabel("weight", color=HELD)
                other.tick_params(axis="y", labelcolor=HELD)
                other.set_ylim(bottom=min(0, *(weight for _, weight in points)))
        for axis in axes[len(weights) :]:
            axis.set_axis_off()
        return svg(figure, "Each term of the objective over the steps")


def domains(pictures: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Features of several domains in two dimensions.

    Args:
      pictures: title → domain → [N, 2].
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        axes = figure.subplots(1, len(pictures), squeeze=False).flat
        for axis, (title, found) in zip(axes, pictures.items(), strict=True):
            for (name, points), colour in zip(found.items(), (TEST, HELD, TRAIN, BAD), strict=False):
                axis.scatter(*points.T, s=7, color=colour, alpha=0.6, linewidths=0, label=name)
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].legend(loc="best", labelcolor=INK, markerscale=2)
        return svg(figure, "Features of the domains in two dimensions")


def _bands(axis, spans: Sequence[Span], *, named: bool) -> None:
    first, last = min((span.start for span in spans), default=0), max((span.end for span in spans), default=0)
    total = last - first
    if total:
        axis.set_xlim(first - 0.02 * total, last + 0.02 * total)
    for number, span in enumerate(spans, 1):
        if number % 2 == 0:
            axis.axvspan(span.start, span.end, color=BAND, linewidth=0, zorder=0)
        if number > 1:
            axis.axvline(span.start, color=MUTED, linewidth=0.8, linestyle=":")
        if named and total:
            roomy = (span.end - span.start) / total > 0.02 * len(span.name) + 0.02
            text = span.name if roomy else str(number)
            axis.text(
                (span.start + span.end) / 2, 1.015, text, transform=axis.get_xaxis_transform(), ha="center", color=MUTED
            )


def _series(axis, lines: Sequence[dict], name: str) -> None:
    """A line for each split, with a mark at each evaluation."""
    for split, style in (
        ("train", {"color": TRAIN, "linewidth": 1.1}),
        ("validation", {"color": HELD, "linewidth": 1.8, "marker": "o", "markersize": 3.5}),
        ("test", {"color": TEST, "linewidth": 1.8, "marker": "o", "markersize": 3.5}),
    ):
        points = [(line["step"], line[name]) for line in lines if line.get("split") == split and name in line]
        if points:
            steps, values = zip(*points, strict=True)
            values = [np.nan if value is None else value for value in values]
            axis.plot(steps, values, label=split, **style)
