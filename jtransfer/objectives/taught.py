"""What teachers tell of the examples of a batch: how it is made from a teacher's outputs, and how a term finds it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.layers.types import Array
from jtransfer.objectives.losses import counted
from jtransfer.objectives.term import View, Wanted

KEY = "teacher"  # in a batch
CHUNKS = "chunks"
HEAD = "head"
Told = Mapping[str, Array]


def condensed(outputs: Mapping[str, Any], labels: Any, wanted: Wanted, *, by_token: bool) -> Told:
    """Returns what is kept of a teacher's outputs for a batch. Pure.

    Predictions of tokens stand one after the other in the order of the tokens that have a label, whatever lies between
    them, so that they fit the same labels of other tokens. `count` says how many there are.

    Args:
      outputs: stage → what the teacher returned, [B, …], or [2·B, …] for pairs, which become [B, 2, …].
      labels: of the teacher's inputs, [B, …].
      wanted: what is asked for.
      by_token: whether there is a label for each token.

    Returns:
      `values`, with the `indices` of their classes where these are the most probable ones, and the `count`.

    Raises:
      InputError: the stage returns something else than one array, or there are fewer classes than are wanted.
    """
    x = outputs[HEAD if wanted.output == CHUNKS else wanted.output]
    if not hasattr(x, "reshape"):
        raise several(wanted.teacher, wanted.output, x)
    if wanted.output == CHUNKS:
        log_p = jax.nn.log_softmax(x.astype(jnp.float32))
        return {"values": jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], -1)[..., 0]}
    x = by_example(x, len(labels)).astype(jnp.float32)
    told: dict[str, Array] = {"values": x}
    if wanted.output == HEAD and by_token:
        order = jnp.argsort(labels < 0, axis=1, stable=True)
        told = {"values": jnp.take_along_axis(x, order[..., None], 1), "count": (labels >= 0).sum(1, dtype=jnp.int32)}
    if not wanted.top:
        return told
    if wanted.top > x.shape[-1]:
        raise InputError(f"teachers.{wanted.teacher}: top={wanted.top} of {x.shape[-1]} classes; give at most so many")
    log_p = jax.nn.log_softmax(told["values"] / wanted.temperature)
    values, indices = jax.lax.top_k(log_p, wanted.top)
    return {**told, "values": values, "indices": indices.astype(jnp.int32)}


def several(teacher: str, stage: str, x: Mapping[str, Any]) -> InputError:
    """Returns the error of a teacher's stage that returns a dict of arrays."""
    return InputError(
        f"teachers.{teacher}: its stage {stage!r} returns several arrays, {', '.join(x)}; name another stage, such as "
        "the one before the head"
    )


def found(view: View, wanted: Wanted) -> Mapping[str, Array]:
    """Returns what a teacher told of the stream's examples in this step."""
    return view.batch[wanted.stream][KEY][wanted.teacher][wanted.key]


def of_labels(told: Mapping[str, Array], labels: Array, mask: Array) -> tuple[Told, Array]:
    """Returns what was told of tokens, each at its place among the student's tokens, and a mask of the tokens.

    Args:
      told: what `condensed` returned of tokens with the same labels in the same order.
      labels: int32 [B, n], the student's.
      mask: bool [B], False for padding.
    """
    rank = jnp.maximum(jnp.cumsum(labels >= 0, 1) - 1, 0)
    real = counted(labels, mask) & (rank < told["count"][:, None])
    last = told["values"].shape[1] - 1
    at = {name: jnp.take_along_axis(x, jnp.minimum(rank, last)[..., None], 1) for name, x in told.items() if x.ndim > 1}
    return at, real


def by_example(x: Any, size: int) -> Any:
    """Returns [B, …] as it is, and rows of B pairs, [2·B, …], as [B, 2, …]."""
    return x if len(x) == size else x.reshape(size, len(x) // size, *x.shape[1:])
