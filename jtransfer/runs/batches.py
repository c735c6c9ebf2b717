"""The batches of a run: of training, shared by its streams, and of evaluations; on the host and on the devices."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jtransfer import data
from jtransfer.core import sharding, stopping
from jtransfer.data import Source, mixture
from jtransfer.data.loader import Batches
from jtransfer.objectives import TARGET

Run = Any  # build.Run
Sources = Mapping[str, Source]


def processes() -> dict[str, int]:
    """This process's place, as the data loader takes it."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def eval_batch_size(config: Any) -> int:
    """Examples in a batch of evaluation, over all devices."""
    return config.eval_batch_size or config.batch_size


def sizes(run: Run, accumulate: int) -> dict[str, int]:
    """The number of examples of each stream in a batch that has examples of it.

    Raises:
      InputError: the batch can't be cut over the devices, the parts of accumulation and the streams.
    """
    config = run.config
    sharding.check_batch(config.batch_size, run.mesh, accumulate)
    if len(run.streams) == 1 or config.mixing.mode == "alternate":
        return dict.fromkeys(run.streams, int(config.batch_size))
    return mixture.batch_sizes(run.shares, config.batch_size, run.mesh.shape[sharding.DATA] * accumulate)


def of_training(run: Run, sources: Sources, transforms: Mapping[str, Any], accumulate: int, start: int) -> Batches:
    """This process's part of the batches from number `start` on, on the host.

    A run with one stream has flat batches; one with several has batches stream → batch, of all streams or, where they
    alternate, of one. Each is a pure function of the run's seed and the number of the step.

    Args:
      run: the run.
      sources: stream → the examples that are trained on.
      transforms: stream → what the host does to them; None for features.
      accumulate: parts of a batch.
      start: the number of the first batch.
    """
    if len(run.streams) == 1:
        return _of_stream(run, TARGET, sources, transforms, run.config.batch_size, run.config.seed, start)
    if run.config.mixing.mode == "alternate":
        return _alternating(run, sources, transforms, start)
    return _shared(run, sources, transforms, sizes(run, accumulate), start)


def _shared(run: Run, sources: Sources, transforms: Mapping, counts: Mapping[str, int], start: int) -> Batches:
    streams = {
        name: _of_stream(run, name, sources, transforms, counts[name], _seed(run, name), start) for name in run.streams
    }
    try:
        while True:
            yield {name: next(batches) for name, batches in streams.items()}
    finally:
        for batches in streams.values():
            batches.close()


def _alternating(run: Run, sources: Sources, transforms: Mapping, start: int) -> Batches:
    order, size = mixture.turns(run.shares), run.config.batch_size
    streams = {
        name: _of_stream(run, name, sources, transforms, size, _seed(run, name), order.before(start, name))
        for name in run.streams
    }
    step = start
    try:
        while True:
            name, _ = order.at(step)
            yield {name: next(streams[name])}
            step += 1
    finally:
        for batches in streams.values():
            batches.close()


def _seed(run: Run, name: str) -> int:
    return run.config.seed if name == TARGET else mixture.seed_of(run.config.seed, name)


def _of_stream(
    run: Run, name: str, sources: Sources, transforms: Mapping[str, Any], size: int, seed: int, start: int
) -> Any:
    section = run.streams[name].data
    how = {"threads": section.threads, "sampling": section.sampling, **processes()}
    return data.train_batches(sources[name], transforms[name], size, seed=seed, start=start, **how)


def of_evaluation(run: Run, source: Source, transform: Any) -> Iterator[dict]:
    """Every example of a source once, on the devices; between two batches a run that is stopped ends (`stopping`)."""
    how = {"threads": run.config.data.threads, **processes()}
    for batch in data.eval_batches(source, transform, eval_batch_size(run.config), **how):
        stopping.check()
        yield sharding.put_batch(batch, run.mesh)


class Ahead:
    """Batches as an iterator of pairs, a batch on the host and the same on the devices, where one may be put ahead.

    Args:
      batches: On the host.
      mesh: Of the devices.
    """

    def __init__(self, batches: Any, mesh: Any):
        self._batches, self._mesh, self._held = batches, mesh, []
        self.close = batches.close

    def fetch(self) -> None:
        """Puts the next batch on the devices, so that a step finds it there. What goes wrong is told by `next`."""
        try:
            batch = next(self._batches)
            self._held.append((batch, sharding.put_batch(batch, self._mesh)))
        except Exception as error:
            self._held.append(error)

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> tuple[dict, dict]:
        if not self._held:
            self.fetch()
        found = self._held.pop()
        if isinstance(found, Exception):
            raise found
        return found
