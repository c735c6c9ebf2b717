"""Attention of queries to keys and values, by the kernel that serves best where the program runs.

On NVIDIA GPUs that is cuDNN's, on TPUs splash attention where texts are long, elsewhere softmax(q·kᵀ)·v as XLA compiles
it, which on a CPU is written so that less is kept for the gradient.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jtransfer.core.errors import InputError, unknown
from jtransfer.layers import cudnn, splash
from jtransfer.layers.cpu import dispatch
from jtransfer.layers.dropout import Drawn, keep
from jtransfer.layers.seen import Asked, Lengths, Mask, Seen, mask_of
from jtransfer.layers.types import Array, DType

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
    drop: Drawn | None = None,
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
      drop: The attention weights that are dropped, None for none; no fused kernel can do that.
      kernel: "auto" takes the fused kernel of the platform if it can compute this, and else the composed form;
        "composed", "cudnn" and "splash" are choices by hand.

    Raises:
      InputError: The kernel that was chosen by hand can't compute this.
    """
    within = window is None or (isinstance(k.shape[1], int) and window >= k.shape[1])
    seen = Seen(causal, None if within else window, lengths)
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    fused = _chosen(kernel, Asked(q, k, seen, mask, bias, softcap, drop))
    if fused is not None:
        return fused.attend(q, k, v, seen, mask=mask, bias=bias, scale=factor, softcap=softcap)
    mask = mask_of(q.shape[1], k.shape[1], seen, mask)
    whole = q.shape[2] != k.shape[2] and q.shape[1] != 1  # heads are shared, and this is no step of a generation
    if drop is None and softcap is None and whole:
        return jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask, scale=factor)
    logits = _logits(q, k) * factor
    logits = logits if softcap is None else softcap * jnp.tanh(logits / softcap)
    logits = logits if bias is None else logits + bias
    logits = logits if mask is None else jnp.where(mask, logits, jnp.finfo(jnp.float32).min / 2)
    if drop is None:
        return _sums(_softmax(v.dtype, logits), v)
    return _dropped_sums(float(drop.rate), logits, keep(drop.key, drop.rate, logits.shape), v)


def further(kernel: str, asked: Asked) -> int:
    """Returns how many tokens to add to a sequence that attends to itself before its queries, keys and values are made,
    each of which is else padded for the kernel by itself.

    Args:
      kernel: The argument of `attend`.
      asked: What `attend` will be asked for.

    Raises:
      InputError: The kernel that was chosen by hand can't compute this.
    """
    return cudnn.further(asked) if _chosen(kernel, asked) is cudnn else 0


def _chosen(kernel: str, asked: Asked):
    """The module of the fused kernel that computes an attention, None for the composed form."""
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    for name, (platform, fused) in _FUSED.items():
        if kernel == name and (why := fused.refusal(asked)):
            raise InputError(f"the attention kernel {name!r} can't be used: {why}; choose 'auto' or 'composed'")
        if kernel == name or (kernel == "auto" and dispatch.target() == platform and fused.serves(asked)):
            return fused
    return None


@jax.custom_jvp
def _logits(q: Float[Array, "b n h d"], k: Float[Array, "b m g d"]) -> Float[Array, "b h n m"]:
    """The products of queries with keys, float32. Their gradient is rounded to the dtype of the queries before it is
    multiplied by keys and queries, which would else be float32 products, too."""
    return _products(q, k, jnp.float32)


@_logits.defjvp
def _logits_jvp(primals, tangents):
    (q, k), (dq, dk) = primals, tangents
    moved = _products(dq, k, q.dtype) + _products(q, dk, q.dtype)
    return _logits(q, k), moved.astype(jnp.float32)


def _products(q, k, dtype):
    (b, n, h, d), (_, m, g, _) = q.shape, k.shape
    if h == g:
        return jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=dtype)
    q = q.reshape(b, n, g, h // g, d)
    return jnp.einsum("bngrd,bmgd->bgrnm", q, k, preferred_element_type=dtype).reshape(b, h, n, m)


def _sums(weights: Float[Array, "b h n m"], v: Float[Array, "b m g d"]) -> Float[Array, "b n h d"]:
    """The sums of values with these weights.

    The products are made in the order of the weights, and turned. Asked for another order, JAX may exchange the
    factors, and one query for each of several heads that share values then takes XLA's CPU compiler 18 times as long.
    """
    (b, h, n, m), (_, _, g, d) = weights.shape, v.shape
    if h == g:
        return jnp.einsum("bhnm,bmhd->bhnd", weights, v).swapaxes(1, 2)
    sums = jnp.einsum("bgxm,bmgd->bgxd", weights.reshape(b, g, -1, m), v)
    return sums.reshape(b, h, n, d).swapaxes(1, 2)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _softmax(dtype: DType, x: Float[Array, "... m"]) -> Float[Array, "... m"]:
    """The softmax in a dtype, as the exponential of its logarithm. The result is all that is kept for the gradient.

    Where XLA's CPU compiler sees a quotient, it keeps the exponentials for the gradient beside the result.
    """
    shifted = x - x.max(axis=-1, keepdims=True)
    return jnp.exp(shifted - jnp.log(jnp.exp(shifted).sum(axis=-1, keepdims=True))).astype(dtype)


@_softmax.defjvp
def _softmax_jvp(dtype, primals, tangents):
    (x,), (dx,) = primals, tangents
    y = _softmax(dtype, x)
    wide = y.astype(x.dtype)
    return y, (wide * (dx - (wide * dx).sum(axis=-1, keepdims=True))).astype(dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _dropped_sums(
    rate: float, logits: Float[Array, "b h n m"], kept: Bool[Array, "b h n m"], v: Float[Array, "b m g d"]
) -> Float[Array, "b n h d"]:
    """The sums of values by the softmax of logits, of which those that are not kept are 0.

    One array of the size of the logits remains for the gradient, in the dtype of the values: the softmax, negative
    where it is dropped. It works in reverse mode only (`jax.grad`, `jax.vjp`).
    """
    return _forward(rate, logits, kept, v)[0]


@partial(jax.jit, static_argnums=0)  # layers of one shape are traced once
def _forward(rate, logits, kept, v):
    weights = _softmax(v.dtype, logits)
    signed = jnp.where(kept, weights, -weights)
    return _sums(_left(rate, signed), v), (signed, v)


@partial(jax.jit, static_argnums=0)
def _backward(rate, saved, cotangent):
    signed, v = saved
    _, pull = jax.vjp(_sums, _left(rate, signed), v)
    slopes, dv = pull(cotangent)
    wide = jnp.where(signed > 0, slopes, 0).astype(jnp.float32) / (1 - rate)
    weights = jnp.abs(signed).astype(jnp.float32)
    dlogits = weights * (wide - (weights * wide).sum(axis=-1, keepdims=True))
    return dlogits, None, dv


def _left(rate, signed):
    """The weights that are kept, so much greater that their expected sum stays."""
    return jnp.where(signed > 0, signed / (1 - rate), 0).astype(signed.dtype)


_dropped_sums.defvjp(_forward, _backward)
