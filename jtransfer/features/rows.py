"""Features that are kept by the content of their examples, so that any selection of examples finds its own again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core import tree as trees
from jtransfer.core.show import say
from jtransfer.features import store

DIGEST = "digest"  # the name of the array with the digests of the examples
_FIELD = "feature_cache"


def find_or_compute(folder: Path, key: str, digests: Sequence[bytes], compute: Callable[[np.ndarray], Any]) -> Any:
    """Returns the features of examples: those that are kept, and those that are computed now and kept with them.

    Args:
      folder: The folder of all keys; several processes may use it at once.
      key: The digest of what the features are made with.
      digests: The digest of each example, [N], all of one length.
      compute: A function from the numbers of examples, int64 [n], to their features.

    Returns:
      Features, an array [N, …] or nested dicts of such arrays, as `compute` returns them.

    Raises:
      InputError: The folder can't be written to.
      TypeError: The features are no dicts of arrays.
    """
    parts = [part for place in _places(folder, key) if (part := store.find(folder, place)) is not None]
    known = {row.tobytes() for part in parts for row in np.asarray(part[DIGEST])}
    first = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    missing = np.array(sorted(number for digest, number in first.items() if digest not in known), np.int64)
    if kept := len(first) - len(missing):
        say(f"features of {kept:,} of {len(first):,} examples are read from {folder}")
    if len(missing):
        flat = _flat(compute(missing))
        held = np.frombuffer(b"".join(digests[i] for i in missing), np.uint8).reshape(len(missing), -1)
        part = {**flat, DIGEST: held}
        place = f"{key}.{hashlib.blake2b(held.tobytes(), digest_size=8).hexdigest()}"
        store.write(folder, len(missing), [{place: part}], {"examples": len(missing)}, _FIELD)
        parts.append(part)
    return _gathered(parts, digests)


def _places(folder: Path, key: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(f"{key}.") and p.suffix != ".part")


def _flat(features: Any) -> dict[str, np.ndarray]:
    """Name → array; the path in nested dicts, with "+" for "/"; of an array alone ""."""
    nested = features if isinstance(features, Mapping) else {"": features}
    flat = {path.replace("/", "+"): leaf for path, leaf in trees.flatten(nested).items()}
    if not all(isinstance(leaf, np.ndarray) for leaf in flat.values()):
        raise TypeError(f"features are no dicts of arrays but {type(features).__name__}")
    return {f"feature{name}": leaf for name, leaf in flat.items()}


def _gathered(parts: Sequence[Mapping[str, np.ndarray]], digests: Sequence[bytes]) -> Any:
    places = {row.tobytes(): (n, i) for n, part in enumerate(parts) for i, row in enumerate(np.asarray(part[DIGEST]))}
    where = np.array([places[digest] for digest in digests], np.int64)
    found = {}
    for name in parts[0].keys() - {DIGEST}:
        some = parts[0][name]
        out = np.empty((len(digests), *some.shape[1:]), some.dtype)
        for number, part in enumerate(parts):
            rows = np.flatnonzero(where[:, 0] == number)
            out[rows] = part[name][where[rows, 1]]
        found[name.removeprefix("feature").replace("+", "/")] = out
    return found[""] if set(found) == {""} else trees.unflatten(found)
