"""What tells files from others: names, sizes, and digests of as much of them as is read in a second."""

import hashlib
import os
from collections.abc import Sequence

from jtransfer.core import whole_file
from jtransfer.data.source import spread

_TOTAL = 1 << 26  # bytes that are read of all files together
_BLOCK = 1 << 16


def digests(paths: Sequence[str]) -> dict[str, str]:
    """Returns name → size and digest, as "1234 9f86d081…", of files.

    Names are relative to the folder of all; that of a single file does not count.

    Small files are read whole; of large ones, blocks that are evenly spread from the first to the last.

    Args:
      paths: the paths of the files. Of one that can't be read, or is in a bucket, there is the name alone.
    """
    if len(paths) == 1:
        return {"the file": of_file(paths[0])}
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    share = _TOTAL // max(len(paths), 1)
    return {os.path.relpath(path, folder) if folder else path: of_file(path, share) for path in paths}


def of_file(path: str, share: int = _TOTAL) -> str:
    """Returns the size and the digest of a file, as `digests` does; "" where it can't be read."""
    held = hashlib.blake2b(digest_size=16)
    if "://" in path or whole_file.problem(path):
        return ""
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            if size <= share:
                held.update(file.read(size))
            else:
                blocks = -(-size // _BLOCK)
                for block in spread(blocks, max(share // _BLOCK, 2)):
                    file.seek(block * _BLOCK)
                    held.update(file.read(_BLOCK))
    except OSError:
        return ""
    return f"{size} {held.hexdigest()}"
