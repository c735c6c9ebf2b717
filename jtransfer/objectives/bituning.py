"""Bi-Tuning: supervised contrast of features with the head's rows, and of projected features with each other."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.core.fields import Count, Positive
from jtransfer.layers import l2_normalize
from jtransfer.layers.types import Array
from jtransfer.objectives.losses import mean_of
from jtransfer.objectives.seen import check_stream, stage, vectors
from jtransfer.objectives.term import FEATURES, TARGET, Context, Term


def bituning(
    context: Context, *, stream: str = TARGET, at: str = "", width: Count = 128, temperature: Positive = 0.07
) -> Term:
    """Both contrasts of Bi-Tuning (Zhong et al. 2020, arXiv:2011.06182), with the examples of the batch as keys.

    As published, keys come from a queue of a momentum encoder; here an example's keys are the other examples of its
    batch, without a gradient, so that batches should hold several examples of each class. Positives are those of the
    same class; an example without any counts 0.

    Args:
      context: of the run; the model has a head with one kernel and one bias or none.
      stream: whose examples; their labels are classes.
      at: the stage of the features; "" is the one before the head.
      width: of the projection.
      temperature: of both.
    """
    check_stream(context, "bituning", stream)
    place, network = stage(context, "bituning", at), nn.Dense(width)

    def loss(view):
        labels, mask = view.batch[stream]["label"], view.batch[stream]["mask"]
        if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.ndim > 1:
            raise InputError("objective: 'bituning' is for one class of each example")
        features = vectors(view, stream, place)
        projected: Any = network.apply({"params": view.own}, features)
        z = l2_normalize(projected)
        ones = jnp.ones((len(features), 1))
        h = l2_normalize(jnp.concatenate([features, ones], 1))
        rows = l2_normalize(_rows(view.variables["params"].get("head", {})))
        if rows.shape[1] != h.shape[1]:
            takes, gives = rows.shape[1] - 1, h.shape[1] - 1
            raise InputError(f"objective: 'bituning': the head takes {takes} features, and {place!r} gives {gives}")
        return contrast(z @ jax.lax.stop_gradient(z).T, labels, mask, temperature) + contrast(
            rows[labels] @ h.T, labels, mask, temperature
        ), {}

    def init(key, outputs):
        shape = outputs[stream][place].shape
        return network.init(key, jnp.zeros((1, math.prod(shape[1:]))))["params"]

    return Term(loss, (f"{FEATURES}{place}",), init)


def contrast(
    scores: Float[Array, "B B"], labels: Int[Array, " B"], mask: Array, temperature: float
) -> Float[Array, ""]:
    """Returns the mean over the examples of −mean over positives p of log softmax over all other examples, at p.

    Args:
      scores: of each example with each key.
      labels: classes of both.
      mask: False where an example is padding.
      temperature: the scores are divided by it.
    """
    others = mask.astype(bool)[None] & ~jnp.eye(len(labels), dtype=bool)
    log_p = jax.nn.log_softmax(jnp.where(others, scores.astype(jnp.float32) / temperature, -1e9))
    positive = (labels[:, None] == labels) & others
    each = -jnp.where(positive, log_p, 0).sum(1) / jnp.maximum(positive.sum(1), 1)
    return mean_of(each, mask).value


def _rows(head) -> Array:
    """The rows of a head's kernel with its bias, [C, d + 1]."""
    flat = trees.flatten(head)
    kernels = [leaf for path, leaf in flat.items() if path.endswith("kernel") and leaf.ndim == 2]
    biases = [leaf for path, leaf in flat.items() if path.endswith("bias")]
    if len(kernels) != 1 or len(biases) > 1:
        raise InputError("objective: 'bituning' needs a head with one kernel and one bias")
    kernel = kernels[0].astype(jnp.float32)
    bias = biases[0] if biases else jnp.zeros(kernel.shape[1])
    return jnp.concatenate([kernel.T, bias.astype(jnp.float32)[:, None]], 1)
