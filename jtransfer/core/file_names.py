"""Names of files in a repository or a bucket, which become paths on this machine."""

import re

from jtransfer.core.errors import InputError

_ELSEWHERE = re.compile(r"[A-Za-z]:|[/~]")  # an absolute path, of Windows, too


def check(path: str, address: str) -> str:
    """Returns the path of a file below an address, if it is one on every system, and leads nowhere else.

    Args:
      path: its parts, with "/" between.
      address: what it is below, for the error.

    Raises:
      InputError: it is absolute, or has a part such as "..", a backslash or an unprintable character.
    """
    parts = path.split("/")
    if _ELSEWHERE.match(path) or {"", ".", ".."} & set(parts) or "\\" in path or not path.isprintable():
        raise InputError(f"{address}: {path[:200]!r} is no name of a file in it; give one without .., \\ or a drive")
    return path
