"""Whether a run's model, with its adapters, can take what the data give and write what the task wants: by tracing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import FlaxError

from jtransfer import data, generate
from jtransfer.core.errors import InputError
from jtransfer.models import forward
from jtransfer.runs import assemble, batches
from jtransfer.runs.stream import Stream

Run = Any  # build.Run


def check(run: Run, stream: Stream) -> None:
    """Makes the first batch of a stream, and traces the model for it. With adapters, which may take places
    of a text, it is the widest that there may be.

    Raises:
      InputError: the batch can't be made, or the model can't take it, or can't write as long a text with its adapters,
        or none.
    """
    adapted = bool(run.config.adapters or run.config.adapters_init)
    transform = stream.transform(run.model, train=True)
    if adapted and hasattr(transform, "of_one_width"):
        transform = transform.of_one_width()
    how = {"threads": stream.data.threads, "sampling": stream.data.sampling, **batches.processes()}
    found = data.train_batches(stream.sources["train"], transform, run.config.batch_size, seed=run.config.seed, **how)
    batch = next(found)
    found.close()
    one = jax.eval_shape(stream.preprocess(run.model, train=True), jax.tree.map(lambda x: x[:1], batch["inputs"]))
    if adapted or jax.tree.map(_kind, one) != jax.tree.map(_kind, run.sample):
        _trace(lambda v, x: forward.apply(run.model, v, x)[0], run, one)
    if adapted and stream.task.generates == "targets" and run.config.generate.num_examples:
        _trace(_writing(run, stream), run, {name: one[name] for name in ("input_ids", "attention_mask")})
    if adapted and stream.task.generates == "more":
        _trace(partial(_going_on, run.model), run, {"input_ids": jax.ShapeDtypeStruct((1, 1), jnp.int32)})


def _writing(run: Run, stream: Stream) -> Callable[[Mapping[str, Any], Any], Any]:
    fields = run.config.generate.fields.to_dict()
    settings = stream.modality.writing(stream.task, run.model, fields).settings
    return lambda v, x: generate.search(run.model, v, x, settings, jax.random.key(0))


def _going_on(model: Any, variables: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    """What `predict` does with a text: an adapter may be none that is used token by token."""
    return generate.search(model, variables, inputs, generate.Settings(max_new_tokens=1))


def _trace(step: Callable[[Mapping[str, Any], Any], Any], run: Run, inputs: Any) -> None:
    try:
        variables = jax.eval_shape(lambda: assemble.with_auxiliary(run, assemble.initial_variables(run)))
        jax.eval_shape(step, variables, inputs)
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
