"""What the frozen stages give of each example, kept in `config.feature_cache` for any number of runs.

An example is known by what the device is given of it, so that runs on other parts of the same data, such as folds, find
what an earlier one has computed.
"""

import dataclasses
import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import Source
from jtransfer.data.source import picked
from jtransfer.features import rows
from jtransfer.models import forward
from jtransfer.runs.stream import Stream
from jtransfer.runs.teacher_key import code
from jtransfer.training import digest
from jtransfer.training.state import AUXILIARY

Run = Any  # build.Run
Extract = Callable[[Source], tuple[Any, np.ndarray]]
_VERSION = 1  # of what is kept


def check(config: Any) -> None:
    """Refuses a folder that is on no machine.

    Raises:
      InputError: it is in a bucket.
    """
    if "://" in config.feature_cache:
        raise InputError(f"feature_cache={config.feature_cache!r}: give a folder of this machine")


def through(
    run: Run, stream: Stream, source: Source, stage: str, transform: Any, variables: Mapping[str, Any], extract: Extract
) -> tuple[Any, np.ndarray]:
    """Returns what the stages before one give of the examples of a source, and their labels, in order.

    Nothing is kept where the config names no folder, where several processes share the run, where each token has a
    label, or where the preparation of examples is random or does not say that it is not.

    Args:
      run: the run.
      stream: of the source.
      source: the examples, as they are evaluated on.
      stage: the first stage that is trained.
      transform: what the host does to an example.
      variables: of the model.
      extract: what computes both of any source.
    """
    folder, still = run.config.feature_cache, getattr(transform, "random", True) is False
    if not folder or jax.process_count() > 1 or stream.task.by_token or not still:
        return extract(source)
    with ThreadPoolExecutor(max(run.config.data.threads, 1)) as pool:
        read = list(pool.map(lambda i: _row(transform(source[i], None)), range(len(source))))
    digests, labels = [one for one, _ in read], np.stack([label for _, label in read])
    key = _key(run.model, stream, stage, variables)
    place = Path(folder).expanduser()
    try:
        found = rows.find_or_compute(place, key, digests, lambda numbers: extract(picked(source, numbers))[0])
    except TypeError:  # what lies between these stages is no array
        return extract(source)
    return found, labels


def _row(row: Mapping[str, Any]) -> tuple[bytes, np.ndarray]:
    """The digest of a row's inputs, and its label as a batch has it."""
    held = hashlib.blake2b(digest_size=16)
    for path, leaf in jax.tree_util.tree_leaves_with_path(row["inputs"]):
        array = np.asarray(leaf)
        held.update(f"{path}{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    label = np.asarray(row["label"])
    return held.digest(), label.astype({"i": np.int32, "f": np.float32}.get(label.dtype.kind, label.dtype))


def _key(model: Any, stream: Stream, stage: str, variables: Mapping[str, Any]) -> str:
    """The digest of what features are computed with: the model, its frozen stages, and what the device prepares."""
    stages: Sequence[str] = forward.stages(model)
    after = set(stages[stages.index(stage) :])
    held = {name: tree for name, tree in variables.items() if name not in AUXILIARY}
    before = {name: {part: rest for part, rest in tree.items() if part not in after} for name, tree in held.items()}
    modality, told = stream.modality, []
    for field in dataclasses.fields(modality):
        value = getattr(modality, field.name)
        if isinstance(value, np.ndarray):
            told.append((field.name, digest.digest({field.name: value})))
        elif not field.metadata.get("state"):
            told.append((field.name, repr(value)))
    parts = [
        _VERSION,
        importlib.metadata.version("jtransfer"),
        jax.__version__,
        digest.digest({name: tree for name, tree in before.items() if tree}),
        re.sub(r" at 0x[0-9a-f]+", "", repr(model)),
        code(type(model)),
        stage,
        told,
    ]
    return hashlib.blake2b(repr(parts).encode(), digest_size=20).hexdigest()
