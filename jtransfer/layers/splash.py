"""Attention by JAX's splash kernels on TPUs, which never write the attention weights to memory.

Queries and keys are padded to whole blocks; segments say what is padding. The compiler can't divide such a kernel among
devices, so `places.divided` tells where examples and heads are, and each device computes its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from jtransfer.layers import places
from jtransfer.layers.seen import Asked, Seen
from jtransfer.layers.types import Array

BLOCKS, SHORTEST = (512, 256, 128), 1024  # SHORTEST: fewer keys than this are left to XLA


def refusal(asked: Asked) -> str:
    """Returns why the kernels can't compute an attention, or ""."""
    q, told = asked.q, places.told()
    if q.dtype != jnp.bfloat16:
        return f"it computes in bfloat16, and this is {q.dtype}"
    if q.shape[-1] % 64:
        return f"heads of {q.shape[-1]} features are no multiple of 64"
    if asked.mask is not None or asked.bias is not None:
        return "it takes no mask and no bias; say what is seen as lengths or causal"
    if asked.drop is not None:
        return "it has no dropout of attention weights"
    if asked.uneven:
        return "causal attention is of as many queries as keys"
    ways = told.ways if told else 1
    return f"{len(q)} examples can't be divided among {ways} devices" if len(q) % ways else ""


def serves(asked: Asked) -> bool:
    """Returns whether the kernels can compute an attention that is large enough for them to pay, on devices of which it
    is known what they have."""
    told = places.told() is not None or jax.device_count() == 1
    return told and asked.q.shape[1] >= BLOCKS[-1] and asked.k.shape[1] >= SHORTEST and not refusal(asked)


def attend(
    q: Float[Array, "b n h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g d"],
    seen: Seen,
    *,
    scale: float,
    softcap: float | None = None,
    mask: None = None,
    bias: None = None,
    interpret: bool = False,
) -> Float[Array, "b n h d"]:
    """Returns softmax(q·kᵀ·scale)·v for each head. Arguments as for `attend.attend`.

    Args:
      interpret: Whether the kernel is interpreted, on whatever platform there is.
    """
    queries, keys = q.shape[1], k.shape[1]
    lengths = jnp.full(len(q), keys) if seen.lengths is None else jnp.maximum(seen.lengths, 1)
    q, k, v = (jnp.pad(x, ((0, 0), (0, -x.shape[1] % BLOCKS[-1]), (0, 0), (0, 0))) for x in (q, k, v))
    real = (jnp.arange(k.shape[1]) < lengths[:, None]).astype(jnp.int32)
    scaled = (q.astype(jnp.float32) * scale).astype(q.dtype)
    told, kernel = places.told(), partial(_kernel, (q.shape[1], k.shape[1]), seen, softcap, interpret)
    given = (scaled.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), real)
    y = _run(kernel(q.shape[2]), *given) if told is None else _divided(kernel, told, *given)
    return y.swapaxes(1, 2)[:, :queries]


def _kernel(shape: tuple[int, int], seen: Seen, softcap: float | None, interpret: bool, heads: int) -> Any:
    """The kernel of one example, with the blocks of queries and keys that meet."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    if seen.causal and seen.window is not None:
        one = masks.LocalMask(shape, (seen.window - 1, 0), 0)
    else:
        one = masks.CausalMask(shape) if seen.causal else masks.FullMask(shape)
    rows, columns = (next(size for size in BLOCKS if n % size == 0) for n in shape)
    blocks = splash.BlockSizes(rows, columns, columns, rows, columns, columns, use_fused_bwd_kernel=True)
    several = masks.MultiHeadMask([one] * heads)
    how = {"block_sizes": blocks, "attn_logits_soft_cap": softcap, "interpret": interpret}
    return splash.make_splash_mha(several, head_shards=1, q_seq_shards=1, **how)


def _run(kernel: Any, q: Array, k: Array, v: Array, real: Array) -> Array:
    """The attention of q [b, h, n, d] to k and v [b, g, m, d]; real int32 [b, m] is 0 where a key is padding."""
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import SegmentIds

    ones = jnp.ones((len(q), q.shape[2]), jnp.int32)
    return jax.vmap(kernel)(q, k, v, SegmentIds(ones, jnp.asarray(real)))


def _divided(make: Callable[[int], Any], there: places.Places, q: Array, k: Array, v: Array, real: Array) -> Array:
    """The same, of which each device computes its own examples and heads."""
    ways = there.mesh.shape[there.heads] if there.heads else 1
    heads = there.heads if k.shape[1] % ways == 0 else None
    part, rows = P(there.batch, heads), P(there.batch)
    run = jax.shard_map(_run, mesh=there.mesh, in_specs=(P(), part, part, part, rows), out_specs=part, check_vma=False)
    return run(make(q.shape[1] // (ways if heads else 1)), q, k, v, real)
