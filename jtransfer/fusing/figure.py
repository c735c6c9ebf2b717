"""The curve of WiSE-FT as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

FILE = "curve.svg"


def write(folder: Path, rows: Sequence[Mapping[str, float]], metric: str, chosen: float) -> None:
    """Writes the figure into a folder.

    Args:
      folder: Which exists.
      rows: Of the curve: "alpha", and the values of each set by its name.
      metric: What the values are.
      chosen: The alpha that was chosen.
    """
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for name in rows[0]:
        if name != "alpha":
            axes.plot([row["alpha"] for row in rows], [row[name] for row in rows], "o-", label=name)
    axes.axvline(chosen, color="grey", linestyle=":", label="chosen on validation")
    axes.set_xlabel("alpha")
    axes.set_ylabel(metric)
    axes.legend()
    figure.savefig(folder / FILE, metadata={"Date": None})
