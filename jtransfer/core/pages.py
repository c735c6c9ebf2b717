"""Templates of pages of HTML, in which nothing from elsewhere is code or deceives the eye.

All pages extend `base.html.jinja`, which has the one style sheet, `page.css`. Their tables are made by the macro
`table` of `tables.html.jinja`, which gives each a caption and a link to the same as CSV.
"""

import base64
import csv
import html.parser
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jtransfer.core.show import escaped

if TYPE_CHECKING:
    import jinja2
    import markupsafe

_FORMULA = re.compile(r"[=+\-@\t\r]")  # with which a spreadsheet's formula begins
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|-?(inf|nan)", re.IGNORECASE)


def environment(folder: Path, **filters: Any) -> "jinja2.Environment":
    """Returns the templates of a folder and those here: values are escaped, and one that is missing is an error.

    Args:
      folder: Of the templates.
      **filters: Name → function, for the templates.
    """
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escaped(value) if type(value) is str else value,
    )
    made.filters |= {"csv": csv_address, "in_full": _in_full, **filters}
    return made


def _in_full(value: float | None) -> "markupsafe.Markup":
    """The attribute of a cell that has a number as the CSV is to have it."""
    from markupsafe import Markup

    return Markup(' data-value="{}"').format("" if value is None else value)


def csv_address(table: str) -> str:
    """Returns the rows of a table as the address of a CSV file that stands in the page itself.

    Args:
      table: Its rows in HTML. A cell is its text, or its attribute `data-value`, a number in full.

    Returns:
      `data:text/csv;…`. A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    rows, file = _Rows(), io.StringIO()
    rows.feed(table)
    rows.close()
    csv.writer(file, lineterminator="\n").writerows([list(map(_plain, row)) for row in rows.found])
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(file.getvalue().encode()).decode()}"


def _plain(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


class _Rows(html.parser.HTMLParser):
    """The cells of the rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._words: list[str] | None = None
        self._value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.found.append([])
        elif tag in ("td", "th"):
            self._words, self._value = [], dict(attrs).get("data-value")
        elif tag == "br" and self._words is not None:
            self._words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._words is not None:
            text = " ".join("".join(self._words).split())
            self.found[-1].append(text if self._value is None else self._value)
            self._words = None

    def handle_data(self, data: str) -> None:
        if self._words is not None:
            self._words.append(data)
