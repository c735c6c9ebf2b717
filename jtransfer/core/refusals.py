"""What a file system refuses: no space, no permission, a disk that is read-only or broken."""

import errno
import os
import re

_REFUSALS = {
    number: os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EFBIG,
        errno.EIO,
        errno.ESTALE,
        errno.EACCES,
        errno.EPERM,
    )
}
_REFUSED = re.compile("|".join(map(re.escape, _REFUSALS.values())))


def reason(error: Exception) -> str | None:
    """Returns why the file system refuses something, such as "No space left on device"; None for other errors.

    Args:
      error: an `OSError`, or one of a library that writes by itself and has the reason somewhere in its text.
    """
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return _REFUSALS[error.errno]
    found = None if isinstance(error, FileNotFoundError) else _REFUSED.search(str(error))
    return found and found.group()
