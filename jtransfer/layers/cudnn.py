"""Attention by cuDNN's fused kernels on NVIDIA GPUs, through `jax.nn.dot_product_attention`.

They never write the attention weights to memory, in the forward pass or for the gradient. They take lengths in
multiples of 8: queries and keys are padded to such a length, the kernel is told the lengths, and the result is cut.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jtransfer.layers.cpu import dispatch
from jtransfer.layers.seen import Asked, Mask, Seen
from jtransfer.layers.types import Array

MULTIPLE, SHORTEST = 8, 64  # SHORTEST: fewer queries or keys than this are left to XLA


def refusal(asked: Asked) -> str:
    """Returns why the kernels can't compute an attention, or ""."""
    q, k, seen = asked.q, asked.k, asked.seen
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes in bfloat16 and float16, and this is {q.dtype}"
    if q.shape[-1] % 8 or q.shape[-1] > 128:
        return f"heads of {q.shape[-1]} features are no multiple of 8 up to 128"
    if asked.softcap is not None:
        return "it has no softcap"
    if asked.drop is not None:
        return "it has no dropout of attention weights"
    if asked.mask is not None and asked.bias is not None:
        return "it takes a mask or a bias, not both; say what is seen as lengths or causal"
    if asked.bias is not None and asked.bias.shape != (1, q.shape[2], q.shape[1], k.shape[1]):
        return f"a bias of shape {asked.bias.shape} is not [1, heads, queries, keys]"
    if asked.uneven:
        return "causal attention is of as many queries as keys"
    if seen.window is not None and seen.lengths is not None:
        return "with a window, a query behind a length would see no key"
    return missing()


def serves(asked: Asked) -> bool:
    """Returns whether the kernels can compute an attention that is large enough for them to pay."""
    return min(asked.q.shape[1], asked.k.shape[1]) >= SHORTEST and not refusal(asked)


def missing() -> str:
    """Returns what the GPUs lack for the kernels that programs are traced for, or ""."""
    capability = dispatch.capability()
    if capability is None:
        return "there is no NVIDIA GPU"
    if float(capability) < 8.0:
        return f"the GPU's compute capability of {capability} is below 8.0"
    return ""


def further(asked: Asked) -> int:
    """Returns how many tokens are wanting for a length that the kernels take, where a sequence can be lengthened ahead
    of its queries and keys: where nothing says of each key whether it is seen."""
    plain = asked.mask is None and asked.bias is None and asked.seen.window is None
    return -asked.q.shape[1] % MULTIPLE if plain else 0


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def real(x: Float[Array, "b n h d"], count: int) -> Float[Array, "b n h d"]:
    """Returns keys or values as they are, of which the kernels read the first `count` only. The gradient of the others
    is 0, whatever the kernels leave there."""
    return x


@real.defjvp
def _real_jvp(count, primals, tangents):
    (x,), (dx,) = primals, tangents
    return real(x, count), jnp.where((jnp.arange(x.shape[1]) < count)[:, None, None], dx, 0)


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g d"],
    seen: Seen,
    *,
    mask: Mask | None,
    bias: Float[Array, "1 h n m"] | None,
    scale: float,
    softcap: None = None,
) -> Float[Array, "b n h d"]:
    """Returns softmax(q·kᵀ·scale + bias)·v for each head. Arguments as for `attend.attend`."""
    (batch, queries), keys = q.shape[:2], k.shape[1]
    more, further = -queries % MULTIPLE, -keys % MULTIPLE
    lengths = None if seen.lengths is None else jnp.maximum(seen.lengths, 1).astype(jnp.int32)
    if lengths is None and (more or further):
        lengths = jnp.full(batch, keys, jnp.int32)
    if mask is not None:  # further queries see what the last one sees, and are cut
        mask = jnp.broadcast_to(mask, (*mask.shape[:2], queries, keys))
        mask = jnp.pad(jnp.pad(mask, _at(2, more), mode="edge"), _at(3, further))
    if bias is not None:
        bias = jnp.pad(bias, ((0, 0), (0, 0), (0, more), (0, further))).astype(q.dtype)
    y = jax.nn.dot_product_attention(
        jnp.pad(q, _at(1, more)),
        jnp.pad(k, _at(1, further)),
        jnp.pad(v, _at(1, further)),
        bias=bias,
        mask=mask,
        scale=scale,
        is_causal=seen.causal,
        query_seq_lengths=None if lengths is None else jnp.full(batch, queries, jnp.int32),
        key_value_seq_lengths=lengths,
        local_window_size=None if seen.window is None else (seen.window - 1, 0),
        implementation="cudnn",
    )
    return y[:, :queries]


def _at(axis: int, count: int) -> tuple[tuple[int, int], ...]:
    return tuple((0, count if i == axis else 0) for i in range(4))
