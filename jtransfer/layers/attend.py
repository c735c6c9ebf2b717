"""Attention of queries to keys and values.

On accelerators it is `jax.nn.dot_product_attention`, which takes fused kernels where there are any. On a CPU there are
none, and a softmax that is written here keeps less for the gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.types import Array

Mask = Bool[Array, "#b #h #q m"]
Bias = Float[Array, "#b #h q m"]


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g d"],
    *,
    mask: Mask | None = None,
    bias: Bias | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    drop: Callable[[Float[Array, "b h n m"]], Float[Array, "b h n m"]] | None = None,
) -> Float[Array, "b n h d"]:
    """Computes softmax(q·kᵀ·scale + bias)·v for each head.

    Args:
      q: Queries.
      k: Keys of g heads; g divides h, and consecutive query heads share one.
      v: Values, likewise.
      mask: False where a query must not attend to a key.
      bias: Added to the logits.
      scale: The factor of q·kᵀ; None means d^-1/2.
      softcap: Bounds q·kᵀ·scale by softcap · tanh(… / softcap); fused kernels can't do that.
      drop: Changes the attention weights, for dropout; fused kernels can't do that either.
    """
    shared = q.shape[2] != k.shape[2]
    if drop is None and softcap is None and (shared or not dispatch.on_cpu()):
        return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, scale=scale)
    k, v = (jnp.repeat(part, q.shape[2] // part.shape[2], axis=2) for part in (k, v))
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
    logits = logits * (q.shape[-1] ** -0.5 if scale is None else scale)
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    logits = logits if bias is None else logits + bias
    logits = logits if mask is None else jnp.where(mask, logits, jnp.finfo(jnp.float32).min / 2)
    weights = _softmax(logits)
    return jnp.einsum("bhnm,bmhd->bnhd", (weights if drop is None else drop(weights)).astype(v.dtype), v)


@jax.custom_jvp
def _softmax(x: Float[Array, "... m"]) -> Float[Array, "... m"]:
    """The softmax, as the exponential of its logarithm.

    Where XLA's CPU compiler sees a quotient, it keeps the exponentials for the gradient beside the result.
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    return jnp.exp(shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True)))


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    y = _softmax(x)
    return y, y * (dx - (y * dx).sum(axis=-1, keepdims=True))
