"""Files of a run that grow: there at once in a folder, and in a bucket uploaded as a whole now and then."""

import io
import os
from time import monotonic
from typing import Any

from etils import epath

UPLOAD_EVERY = 30.0  # seconds


def is_remote(path: str | os.PathLike) -> bool:
    """Returns whether a path lies in a bucket."""
    return "://" in str(path)


def opened(path: epath.Path) -> Any:
    """Returns a file to append bytes to."""
    return _Uploaded(path) if is_remote(path) else open(path, "ab")


class _Uploaded(io.BytesIO):
    """A file in a bucket: its whole content, uploaded now and then."""

    def __init__(self, path: epath.Path):
        super().__init__()
        self.write(path.read_bytes() if path.exists() else b"")
        self._path, self._last = path, monotonic()

    def flush(self) -> None:
        if not self.closed and monotonic() - self._last >= UPLOAD_EVERY:
            self._path.write_bytes(self.getvalue())
            self._last = monotonic()

    def close(self) -> None:
        if not self.closed:
            self._path.write_bytes(self.getvalue())
        super().close()
