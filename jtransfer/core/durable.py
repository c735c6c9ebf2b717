"""What is written reaches the disk: until then, it is lost when the power fails, or its name stands for an empty file.

File systems that can't tell are taken at their word.
"""

import contextlib
import errno
import os
import stat

_UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def tree(folder: str | os.PathLike) -> None:
    """Returns when all files and folders of a folder, and itself, are on the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _reach(os.path.join(place, name))
        _reach(place)


def files(folder: str | os.PathLike) -> None:
    """Returns when the files of a folder and the names in it are on the disk; folders in it are left out."""
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in names:
        _reach(name)
    _reach(folder)


def names(folder: str | os.PathLike) -> None:
    """Returns when the names in a folder are on the disk, such as a new one that was given."""
    _reach(folder)


def _reach(path: str | os.PathLike) -> None:
    with contextlib.suppress(FileNotFoundError):  # it was replaced, by what reaches the disk itself
        if not stat.S_ISREG(mode := os.lstat(path).st_mode) and not stat.S_ISDIR(mode):
            return
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
        finally:
            os.close(handle)
