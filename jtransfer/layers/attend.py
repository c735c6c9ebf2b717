"""Attention of queries to keys and values, by the kernel that serves best where the program runs.

On NVIDIA GPUs that is cuDNN's, on TPUs splash attention where texts are long, elsewhere softmax(q·kᵀ)·v as XLA compiles
it, which on a CPU is written so that less is kept for the gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers import cudnn, splash
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.seen import Asked, Lengths, Mask, Seen, mask_of
from jtransfer.layers.types import Array

Bias = Float[Array, "#b #h q m"]

_FUSED = {"cudnn": ("cuda", cudnn), "splash": ("tpu", splash)}
KERNELS = ("auto", "composed", *_FUSED)


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g d"],
    *,
    mask: Mask | None = None,
    bias: Bias | None = None,
    causal: bool = False,
    window: int | None = None,
    lengths: Lengths | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    drop: Callable[[Float[Array, "b h n m"]], Float[Array, "b h n m"]] | None = None,
    kernel: str = "auto",
) -> Float[Array, "b n h d"]:
    """Computes softmax(q·kᵀ·scale + bias)·v for each head.

    Args:
      q: Queries.
      k: Keys of g heads; g divides h, and consecutive query heads share one.
      v: Values, likewise.
      mask: False where a query must not attend to a key.
      bias: Added to the logits.
      causal: Whether query i attends to keys 0, …, i only.
      window: With `causal`, query i attends to the last `window` of these only.
      lengths: The number of keys of each example that are no padding, which comes after them. What they say a mask can
        say, too, but fused kernels compute nothing for what is beyond a length.
      scale: The factor of q·kᵀ; None means d^-1/2.
      softcap: Bounds q·kᵀ·scale by softcap · tanh(… / softcap).
      drop: Changes the attention weights, for dropout; no fused kernel can do that.
      kernel: "auto" takes the fused kernel of the platform if it can compute this, and else the composed form;
        "composed", "cudnn" and "splash" are choices by hand.

    Raises:
      InputError: The kernel that was chosen by hand can't compute this.
    """
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    within = window is None or (isinstance(k.shape[1], int) and window >= k.shape[1])
    seen = Seen(causal, None if within else window, lengths)
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    asked = Asked(q, k, seen, mask, bias, softcap, drop)
    for name, (platform, fused) in _FUSED.items():
        if kernel == name and (why := fused.refusal(asked)):
            raise InputError(f"the attention kernel {name!r} can't be used: {why}; choose 'auto' or 'composed'")
        worth = kernel == "auto" and dispatch.target() == platform and fused.serves(asked)
        if kernel == name or worth:
            return fused.attend(q, k, v, seen, mask=mask, bias=bias, scale=factor, softcap=softcap)
    mask = mask_of(q.shape[1], k.shape[1], seen, mask)
    whole = q.shape[2] != k.shape[2] and q.shape[1] != 1  # heads are shared, and this is no step of a generation
    if drop is None and softcap is None and (whole or not dispatch.on_cpu()):
        return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, scale=factor)
    logits = _logits(q, k) * factor
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    logits = logits if bias is None else logits + bias
    logits = logits if mask is None else jnp.where(mask, logits, jnp.finfo(jnp.float32).min / 2)
    weights = _softmax(logits)
    return _sums((weights if drop is None else drop(weights)).astype(v.dtype), v)


def _logits(q: Float[Array, "b n h d"], k: Float[Array, "b m g d"]) -> Float[Array, "b h n m"]:
    """The products of queries with keys, float32."""
    (b, n, h, d), (_, m, g, _) = q.shape, k.shape
    if h == g:
        return jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
    q = q.reshape(b, n, g, h // g, d)
    return jnp.einsum("bngrd,bmgd->bgrnm", q, k, preferred_element_type=jnp.float32).reshape(b, h, n, m)


def _sums(weights: Float[Array, "b h n m"], v: Float[Array, "b m g d"]) -> Float[Array, "b n h d"]:
    """The sums of values with these weights."""
    (b, h, n, m), (_, _, g, d) = weights.shape, v.shape
    if h == g:
        return jnp.einsum("bhnm,bmhd->bnhd", weights, v)
    return jnp.einsum("bgrnm,bmgd->bngrd", weights.reshape(b, g, h // g, n, m), v).reshape(b, n, h, d)


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
