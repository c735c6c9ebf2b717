"""How a checkpoint that is being written comes to its name, in a thread beside the training.

Orbax writes the arrays into `<step>.new`. Meanwhile their checksums are computed, from the host arrays that Orbax
writes. Then all of it, and what a run that goes on from here needs beside it, reaches the disk; and last the name does.
So whenever the power fails, a checkpoint is whole, or an earlier one is still there.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import jax
from etils import epath
from orbax.checkpoint import v1 as ocp

from jtransfer.core import durable, meeting, whole_file
from jtransfer.core import tree as trees
from jtransfer.training import digest as digests
from jtransfer.training.checkpoint import folders, statement
from jtransfer.training.checkpoint.statement import Stated


def begin(workdir: str | os.PathLike, held: dict[str, dict], stated: Stated) -> Any:
    """Begins to write a checkpoint; returns what has a `result(timeout)`, which waits until it has its name.

    Args:
      workdir: The run's folder.
      held: From `parts`, the trees that are saved.
      stated: What the checkpoint states, without the checksums.
    """
    flat = trees.flatten(held)
    if folders.is_remote(workdir):  # where nothing can be renamed, and what is written is kept
        metadata = statement.metadata(stated._replace(digests=digests.digests(flat)))
        path = folders.root(workdir) / str(stated.step)
        return ocp.save_checkpointables_async(path, held, custom_metadata=metadata)
    path = folders.unnamed(workdir, stated.step)
    written = ocp.save_checkpointables_async(path, held)
    own = digests.held(flat)
    return _in_background(lambda: _commit(workdir, path, stated, own, written))


def _commit(
    workdir: str | os.PathLike, path: epath.Path, stated: Stated, own: Mapping[str, digests.Held], written: Any
) -> None:
    def write() -> list[tuple[int, int]]:
        sums = digests.sums(own)
        written.result()
        durable.tree(path)
        if jax.process_index() == 0:
            durable.tree(folders.base(workdir, stated.position["phase"]))
            durable.names(folders.base(workdir, stated.position["phase"]).parent)
            durable.files(workdir)
        return sums

    of_all = meeting.together(write)

    def name() -> None:
        if jax.process_index() == 0:
            _state(path, stated._replace(digests=digests.of_sums(own, of_all)))
            path.rename(folders.root(workdir) / str(stated.step))
            durable.names(folders.root(workdir))

    meeting.together(name)


def _state(path: epath.Path, stated: Stated) -> None:
    """Adds what a checkpoint states to its metadata."""
    file = path / folders.METADATA
    content = json.loads(file.read_text()) | {"custom_metadata": statement.metadata(stated)}
    whole_file.write(file, json.dumps(content).encode())


def _in_background(work: Callable[[], None]) -> Future:
    future = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
