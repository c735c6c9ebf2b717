"""The batches of a run: of training, shared by its streams, and of evaluations; on the host and on the devices."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
from flax.errors import FlaxError

from jtransfer import data
from jtransfer.core import sharding, stopping
from jtransfer.core.errors import InputError
from jtransfer.data import Source, mixture
from jtransfer.data.loader import Batches
from jtransfer.models import forward
from jtransfer.objectives import TARGET
from jtransfer.runs import assemble
from jtransfer.runs.stream import Stream

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


def check(run: Run, stream: Stream) -> None:
    """Makes the first batch of a stream, and traces the model for it.

    Raises:
      InputError: the batch can't be made, or the model can't take it.
    """
    transform = stream.transform(run.model, train=True)
    how = {"threads": stream.data.threads, "sampling": stream.data.sampling, **processes()}
    batches = data.train_batches(stream.sources["train"], transform, run.config.batch_size, seed=run.config.seed, **how)
    inputs = next(batches)["inputs"]
    batches.close()
    one = jax.eval_shape(stream.preprocess(run.model, train=True), jax.tree.map(lambda x: x[:1], inputs))
    _check_model(run, one)


def _check_model(run: Run, inputs: Any) -> None:
    if jax.tree.map(_kind, inputs) == jax.tree.map(_kind, run.sample):
        return
    try:
        variables = jax.eval_shape(lambda: assemble.initial_variables(run))
        jax.eval_shape(lambda v, x: forward.apply(run.model, v, x)[0], variables, inputs)
    except InputError:
        raise
    except (FlaxError, TypeError, ValueError) as error:
        shapes = ", ".join(str(list(leaf.shape)) for leaf in jax.tree.leaves(inputs))
        reason = " ".join(str(error).split())
        raise InputError(
            f"the model can't take inputs of the shape {shapes}, which the data have when transformed: {reason:.200}"
        ) from error


def _kind(leaf: Any) -> tuple:
    return tuple(leaf.shape), str(leaf.dtype)
