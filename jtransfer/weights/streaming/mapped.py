"""Arrays that are views of mapped files: their pages count as the process's memory once they are touched."""

import mmap

import numpy as np


def release(*arrays: np.ndarray) -> None:
    """Gives back the touched pages of arrays that are views of mapped files; they are read again when needed."""
    for array in arrays:
        base = array
        while isinstance(base, np.ndarray | memoryview):
            base = base.base if isinstance(base, np.ndarray) else base.obj
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
