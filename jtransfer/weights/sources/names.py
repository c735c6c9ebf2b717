"""Files beside weights on this machine."""

import os
import stat
from pathlib import Path

from jtransfer.core.errors import InputError

_REPOSITORY = "models--"  # what the folder of a repository in the hub's cache begins with


def beside(folder: Path, name: str) -> Path | None:
    """Returns the path of a file of a folder, or None if there is nothing of this name.

    A link is followed within the folder, and within one repository of the hub's cache, where all files are links.

    Raises:
      InputError: there is something else than a file, or a link that leads elsewhere or to nothing.
    """
    path = folder / name
    if not os.path.lexists(path):
        return None
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not real.is_relative_to(_repository(home) or home):
        raise InputError(f"{path} leads out of its folder, to {real}; copy that file there if it is meant")
    try:
        regular = stat.S_ISREG(os.stat(real).st_mode)
    except OSError:
        raise InputError(f"{path} is a link to nothing; fetch the file again, or remove the link") from None
    if not regular:
        raise InputError(f"{path} is not a regular file; put a file there, or remove it")
    return path


def _repository(folder: Path) -> Path | None:
    """The folder of the repository in the hub's cache that a folder is a snapshot of, or is in one."""
    parts = folder.parts
    at = next((i for i, part in enumerate(parts) if part.startswith(_REPOSITORY)), len(parts))
    return Path(*parts[: at + 1]) if parts[at + 1 : at + 2] == ("snapshots",) else None
