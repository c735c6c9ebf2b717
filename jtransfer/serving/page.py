"""The page by which a server is tried by hand: one file that needs no other."""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from jtransfer.core import pages
from jtransfer.serving.sent import wanted

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
}


def render(info: dict[str, Any], max_bytes: int) -> str:
    """Returns the page.

    Args:
      info: What /info says.
      max_bytes: The largest number of bytes of a request.
    """
    takes = info["inputs"]
    settings = {"maxBytes": max_bytes, "file": "file" in takes, "numbers": "numbers" in takes}
    return (
        pages.environment(Path(__file__).parent)
        .get_template("page.html.jinja")
        .render(
            title=info["run"],
            task=info["task"],
            modality=info["modality"],
            classes=info["classes"],
            wanted=wanted(takes),
            file="file" in takes,
            text="string" in takes,
            numbers="numbers" in takes,
            settings=Markup(json.dumps(settings)),
        )
    )
