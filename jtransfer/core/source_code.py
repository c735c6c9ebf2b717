"""Which state of the code a run is of: the commit of the working tree, and how the files differ from it."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

SHIPPED = ".jtransfer-source.json"  # in a copy of a working tree, which has no history
_KEPT = ("*.py", "*.sh", "*.toml", "*.yaml", "*.yml", "*.cfg", "*.ini", "*.ipynb")  # new files whose text is kept
_LONGEST = 5_000_000  # characters of a difference
_SECONDS = 20.0
_ADDRESS = re.compile(r"(?:\w[\w+.-]*://(?:[^@/]*@)?([\w.-]+)(?::\d+)?/|[\w.-]+@([\w.-]+):)(.+?)(?:\.git)?/?")


class State(NamedTuple):
    """The state of a working tree.

    Attributes:
      commit: The commit that it began with; "" where that is not known.
      remote: The address of the repository that it came from, without a password; "" if there is none.
      diff: How tracked files, and new ones of code and settings, differ from it, as `git apply` takes it.
      new: The names of all files that are new and not ignored.
    """

    commit: str
    remote: str
    diff: str
    new: tuple[str, ...]

    def to_json(self) -> str:
        """Returns the text that a copy of the tree keeps, which `of` reads."""
        return json.dumps(self._asdict())


def of(folder: str | os.PathLike) -> State | None:
    """Returns the state of the working tree that a folder is in; None where it is in none, or git is not there."""
    here, top = Path(folder).absolute(), root(folder)
    copy = next((place for place in (here, *here.parents) if (place / SHIPPED).is_file()), None)
    if copy and (top is None or len(copy.parts) >= len(top.parts)):
        return _read(copy / SHIPPED)
    if top is None:
        return None
    new = tuple(files(top, "--others", "--exclude-standard"))
    return State(
        (_git(top, "rev-parse", "HEAD") or "").strip(),
        re.sub("//[^/@]*@", "//", (_git(top, "config", "--get", "remote.origin.url") or "").strip()),
        _diff(top)[:_LONGEST],
        new,
    )


def page(address: str) -> str:
    """Returns the address of a remote as that of a page, without the name or password that stands in it; "" of a path.

    Args:
      address: As `git remote get-url` gives it: `https://…`, `ssh://git@host/…` or `git@host:…`.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or address.startswith("file:"):
        return ""
    return f"https://{found[1] or found[2]}/{found[3]}"


def root(folder: str | os.PathLike) -> Path | None:
    """Returns the top of the working tree that a folder is in, or None."""
    top = _git(Path(folder), "rev-parse", "--show-toplevel")
    return Path(top.strip()) if top else None


def files(top: Path, *which: str) -> list[str]:
    """Returns names of files of a working tree, as `git ls-files` lists them."""
    return [name for name in (_git(top, "ls-files", "-z", *which) or "").split("\0") if name]


def _diff(top: Path) -> str:
    """The difference to the commit, with new files of code, by an index of its own, so that nothing is changed."""
    with tempfile.TemporaryDirectory() as place:
        index = {"GIT_INDEX_FILE": os.path.join(place, "index")}
        kept = files(top, "--others", "--exclude-standard", "--", *(f":(glob)**/{name}" for name in _KEPT))
        has_commit = _git(top, "rev-parse", "--verify", "-q", "HEAD") is not None
        _git(top, "read-tree", *(["HEAD"] if has_commit else ["--empty"]), **index)
        for begin in range(0, len(kept), 500):
            _git(top, "add", "--intent-to-add", "--", *kept[begin : begin + 500], **index)
        return (
            _git(top, "-c", "core.quotePath=false", "diff", "--no-ext-diff", "--no-textconv", "--no-color", **index)
            or ""
        )


def _git(folder: Path, *words: str, **env: str) -> str | None:
    """What git says; None where it fails or is not there."""
    try:
        command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
        quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(command, capture_output=True, env={**os.environ, **quiet, **env}, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _read(path: Path) -> State | None:
    try:
        found = json.loads(path.read_text())
        return State(str(found["commit"]), str(found["remote"]), str(found["diff"]), tuple(map(str, found["new"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def packaged(path: str) -> Path | None:
    """Returns the file of the package that a path such as "configs/quickstart.py" names; None where there is none."""
    found = Path(__file__).parents[1] / path
    return found if path.startswith("configs/") and ".." not in Path(path).parts and found.is_file() else None
