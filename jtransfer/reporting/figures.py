"""The figures of a report, as SVG text to stand inside an HTML page whose style sheet gives the colours and the font.

Matplotlib draws with stand-in colours, each of which is then replaced by a CSS variable, so that the figures follow the
page's light or dark theme.
"""

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jtransfer.core.show import escaped
from jtransfer.metrics import Calibration

INK, MUTED, LINE, BAND, TRAIN, TEST, HELD, BAD = (f"#0102{n:02}" for n in range(8))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    BAND: "band",
    TRAIN: "train",
    TEST: "accent",
    HELD: "held",
    BAD: "bad",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titlepad": 16,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}


class Span(NamedTuple):
    """A phase's name, and the steps it starts and ends at."""

    name: str
    start: int
    end: int


def curves(lines: Sequence[dict], spans: Sequence[Span], metric: tuple[str, str] = ("accuracy", "Accuracy")) -> str:
    """Loss, a metric (its name and title), learning rate and speed over the steps, the phases marked by bands."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, height_ratios=(2.4, 1))
        titles = ("Loss", metric[1], "Learning rate", "Training examples per second")
        names = ("loss", metric[0], "learning_rate", "examples_per_second")
        for axis, title, name in zip(axes.flat, titles, names, strict=True):
            _bands(axis, spans, named=axis in axes[0])
            _series(axis, lines, name)
            axis.set_title(title)
            axis.yaxis.set_major_locator(MaxNLocator(5))
        for axis in axes[0]:
            if any(not line.get_label().startswith("_") for line in axis.lines):
                axis.legend(loc="best", handlelength=1.4, labelcolor=INK)
        for axis in axes[1]:
            axis.set_xlabel("step")
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.set_ylim(bottom=0)
        axes[1, 0].yaxis.set_major_formatter("{x:g}")
        return svg(figure)


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
        return svg(figure)


def matrix(shares: np.ndarray) -> str:
    """`[C, C]` shares of each row, for more classes than a table can name: hits in one colour, mistakes in another."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(7, 6.4), layout="constrained")
        axis = figure.subplots()
        diagonal = np.eye(len(shares), dtype=bool)
        for where, colour, full in ((diagonal, "#2f6fde", 1.0), (~diagonal, "#d0453a", 0.5)):
            shades = LinearSegmentedColormap.from_list("shades", [f"{colour}00", f"{colour}ff"])
            axis.imshow(np.ma.array(shares, mask=~where), cmap=shades, vmin=0, vmax=full, interpolation="nearest")
        axis.set(xlabel="predicted class (number)", ylabel="true class (number)")
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        return svg(figure)


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
        return svg(figure)


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
        return svg(figure)


def coverage(share: np.ndarray, risk: np.ndarray) -> str:
    """The share of wrong predictions among the surest of the examples, over how many these are."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3), layout="constrained")
        axis = figure.subplots()
        axis.plot(share, risk, color=TEST)
        axis.set(xlabel="coverage", ylabel="risk", xlim=(0, 1))
        axis.set_ylim(bottom=0)
        return svg(figure)


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
        return svg(figure)


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
        return svg(figure)


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


def svg(figure: Figure) -> str:
    """Returns a figure as an `<svg>` element of a page, with CSS variables for colours and font, and identifiers of its
    own within the page."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', text, count=1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = escaped(text)
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}", text)
