"""`predictions.npz`: what a run's task keeps of each example of the last evaluation on the test split."""

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError

FILE = "predictions.npz"
_MOST = 1 << 30  # bytes that compressed arrays may have, of which a run writes none


def write(workdir: str | os.PathLike, predictions: Mapping[str, Any]) -> None:
    """Writes arrays [N, …] by name: `probs` float32 [N, C], `label` int32 [N], `index` int64 [N]. Process 0 writes."""
    if jax.process_index() == 0:
        whole_file.write(epath.Path(workdir) / FILE, lambda file: np.savez(file, **predictions))


def read(workdir: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays by name, numbers [N, …] and texts [n, …]; none where there is no file.

    Raises:
      InputError: the file cannot be read, or no run writes such arrays.
    """
    path = epath.Path(workdir) / FILE
    if (why := whole_file.problem(path)) == "is missing":
        return {}
    if why:
        raise InputError(f"{path} {why}; move it away")
    try:
        with path.open("rb") as file:
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        lengths = {(array.dtype.kind == "U", len(array)) for array in found.values()}
        one = len({texts for texts, _ in lengths}) == len(lengths)
        if not one or any(array.dtype.kind not in "biufU" for array in found.values()):
            raise ValueError("the arrays are not one value for each example")
    except Exception as error:  # zipfile, zlib and numpy each have their own
        again = "remove it; the run's next evaluation on the test split writes it"
        raise InputError(f"{path} cannot be read: {error!s:.200}; {again}") from None
    return found


def _check_sizes(file: Any) -> None:
    """Refuses an archive that says it holds more than can be meant."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        plain = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        total = sum(member.file_size for member in members)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if total > (size if plain else _MOST):
        raise ValueError(f"its arrays would have {total:,} bytes")
