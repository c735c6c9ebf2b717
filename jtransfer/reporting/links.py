"""Where what a report names is to be found: the pages of weights and of a commit, from which a report loads nothing."""

import re
from collections.abc import Mapping
from typing import Any

from jtransfer.core import source_code

_NAME = r"[\w.-]+"
_PAGES = (
    (re.compile(rf"hf://({_NAME}/{_NAME})@({_NAME})(?::.*)?"), "https://huggingface.co/{0}/tree/{1}"),
    (re.compile(rf"hf://({_NAME}/{_NAME})(?::.*)?"), "https://huggingface.co/{0}"),
    (re.compile(rf"pypi://({_NAME})(?:[:/].*)?"), "https://pypi.org/project/{0}/"),
)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HTTPS = re.compile(r"https://[\w.-]+(?:/[\w.~/%+-]*)?")


def source(address: Any) -> str:
    """Returns the page of weights by their address, as `config.init` has it; "" where there is none."""
    text = address if isinstance(address, str) else ""
    for pattern, to in _PAGES:
        if found := pattern.fullmatch(text):
            return to.format(*found.groups())
    return ""


def code(environment: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what a report says of the code of a run: "commit", "dirty", and "page", the commit's where it is known.

    Args:
      environment: What `environment.json` holds.
    """
    given = environment.get("source")
    found = given if isinstance(given, Mapping) else {}
    commit = found.get("commit")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return None
    remote = found.get("remote")
    page = source_code.page(remote) if isinstance(remote, str) else ""
    known = _HTTPS.fullmatch(page)
    return {"commit": commit, "dirty": bool(found.get("changed")), "page": f"{page}/commit/{commit}" if known else ""}
