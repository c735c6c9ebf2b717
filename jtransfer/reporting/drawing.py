"""Figures as SVG text to stand inside an HTML page whose style sheet gives the colours and the font.

Matplotlib draws with stand-in colours, each of which is then replaced by a CSS variable, so that the figures follow the
page's light or dark theme.
"""

import html
import io
import re
import warnings
import zlib
from typing import Any

from matplotlib.figure import Figure

from jtransfer.core.show import escaped

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


def svg(figure: Figure, label: str) -> str:
    """Returns a figure as an `<svg>` element of a page, with CSS variables for colours and font, and identifiers of its
    own within the page.

    Args:
      figure: The figure.
      label: What it shows, for those who do not see it.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():  # letters that matplotlib's font lacks are the browser's to draw
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    said = html.escape(label)
    text = re.sub(
        r'<svg[^>]*(viewBox="[^"]*")[^>]*>', lambda m: f'<svg {m[1]} role="img" aria-label="{said}">', text, count=1
    )
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = escaped(text)
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}", text)
