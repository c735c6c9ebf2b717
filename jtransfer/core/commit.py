"""Which commit a folder is of, as git tells it."""

import os
import re
import subprocess
from pathlib import Path

_SECONDS = 5.0
_ADDRESS = re.compile(r"(?:\w[\w+.-]*://(?:[^@/]*@)?([\w.-]+)(?::\d+)?/|[\w.-]+@([\w.-]+):)(.+?)(?:\.git)?/?")


def of(folder: str | os.PathLike) -> dict[str, str | bool]:
    """Returns what git says of a folder: "commit", its hash; "dirty", whether files that git knows differ from it; and
    "remote", the page of the repository, where it has one.

    Args:
      folder: Any folder.

    Returns:
      The three; nothing of a folder that is in no repository, or where there is no git.
    """
    found = _git(folder, "rev-parse", "HEAD")
    if not found:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": found, "dirty": changed != "", "remote": page(_git(folder, "remote", "get-url", "origin") or "")}


def page(address: str) -> str:
    """Returns the address of a remote as that of a page, without the name or password that stands in it; "" of a path.

    Args:
      address: As `git remote get-url` gives it: `https://…`, `ssh://git@host/…` or `git@host:…`.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or address.startswith("file:"):
        return ""
    return f"https://{found[1] or found[2]}/{found[3]}"


def _git(folder: str | os.PathLike, *arguments: str) -> str | None:
    """What git prints; None where it fails."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(Path(folder).absolute()), *arguments]
    settings = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=settings, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
