"""Templates of pages of HTML, in which nothing from elsewhere is code or deceives the eye."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jtransfer.core.show import escaped

if TYPE_CHECKING:
    import jinja2


def environment(folder: Path, **filters: Any) -> "jinja2.Environment":
    """Returns the templates of a folder: values are escaped, and one that is missing is an error.

    Args:
      folder: Of the templates.
      **filters: Name → function, for the templates.
    """
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escaped(value) if type(value) is str else value,
    )
    made.filters |= filters
    return made
