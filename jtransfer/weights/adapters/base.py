"""The base that an adapter belongs to: what `jtransfer.json` in its folder says, beside PEFT's own files.

The digest is one of the parameters that the adapter leaves as they are, by their paths and in float32, so that it does
not depend on the file that they came from. Heads and poolers do not count: with another head, a base is the same one.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.models.paths import POOLER, in_head
from jtransfer.weights import digests
from jtransfer.weights.identify import sidecar_files
from jtransfer.weights.schema import TEXT, check, many, text

FILE = "jtransfer.json"


class Base(NamedTuple):
    """What is known of a base.

    Attributes:
      source: its address.
      digest: "sha256:…" of its variables, as the function `digest` computes it.
      without: paths of those that it leaves out, for they came from training, too.
    """

    source: str
    digest: str
    without: tuple[str, ...] = ()


def of(variables: Mapping[str, Any], source: str, without: Collection[str] = ()) -> Base:
    """Returns what is to be known of the base of a trained model.

    Args:
      variables: {"params": …, "batch_stats": …}.
      source: the address of the base.
      without: paths, without the collection, of what is not the base's.
    """
    return Base(source, digest(variables, without), tuple(sorted(without)))


def digest(variables: Mapping[str, Any], without: Collection[str] = ()) -> str:
    """Returns the digest of a model's variables.

    Args:
      variables: {"params": …, "batch_stats": …}.
      without: paths, without the collection, of those that do not count.
    """
    own = {name: tree for name, tree in variables.items() if name in rules.OWN}
    flat, names = trees.flatten(own), rules.names(own)
    left = set(without)
    kept = {full: flat[full] for full, path in names.items() if path not in left and not _of_head(path)}
    return digests.combine({full: digests.digest(_plain(leaf)) for full, leaf in kept.items()})


def _of_head(path: str) -> bool:
    return in_head(path) or path.startswith(f"{POOLER}/")


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(leaf).astype(np.float32)


def verify(base: Base | None, variables: Mapping[str, Any], name: str) -> None:
    """Compares the base that an adapter was trained on with the one that it is to be put on.

    Args:
      base: the note beside the adapter; of an adapter without one nothing is known.
      variables: of the base.
      name: of the adapter, for the error.

    Raises:
      InputError: they differ.
    """
    if base is None:
        return
    found = digest(variables, base.without)
    if found != base.digest:
        raise InputError(
            f"{name} belongs to another base: it was made for {base.source or 'one'} with {base.digest}, and this one "
            f"has {found}; give that base, or delete {FILE} beside the adapter if it is to be tried on this one"
        )


def write(folder: Path, base: Base) -> None:
    """Writes the note into an adapter's folder."""
    content = {"version": 1, "base": base._asdict()}
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n")


def read(path: Path | None) -> Base | None:
    """Returns what a note says; None where there is none.

    Raises:
      InputError: it is damaged.
    """
    if path is None:
        return None
    found = sidecar_files.read_json(path).get("base")
    if not isinstance(found, dict) or "digest" not in found:
        raise InputError(f"{path} is damaged: it has no digest of a base; delete it if the adapter is to be tried")
    check(found, {"source": text(10_000), "digest": TEXT, "without": many(TEXT, 0, 100_000)}, f"{path}: base")
    return Base(found.get("source", ""), found["digest"], tuple(found.get("without", ())))
