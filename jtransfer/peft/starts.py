"""What the factors of a low-rank change begin with."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.peft.method import Site

Factors = tuple[jax.Array, jax.Array]
ZERO = ("uniform", "gaussian")  # of which one factor is zero
OF_KERNEL = ("pissa", "olora")


def draw(key: jax.Array, site: Site, rank: int, start: str) -> Factors:
    """Returns factors of which one is zero, the other as in Hugging Face's PEFT.

    Args:
      key: a random key.
      site: the layer. Of an embedding, `a` is zero, so that rows of tokens that were never seen stay.
      rank: of the change.
      start: "uniform", in ±1/√inputs; or "gaussian", of a deviation of 1/rank.
    """
    if site.kind == "embed":
        return jnp.zeros((*site.inputs, rank)), jax.random.normal(key, (rank, *site.outputs))
    shape, b = (*site.inputs, rank), jnp.zeros((rank // _groups(site, rank), *site.outputs))
    if start == "gaussian":
        return jax.random.normal(key, shape) / rank, b
    bound = 1 / math.sqrt(math.prod(site.inputs))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound), b


def _groups(site: Site, rank: int) -> int:
    return site.groups if rank % site.groups == 0 else 1


def of_kernel(site: Site, params: Mapping[str, Any], rank: int, start: str, scale: float) -> Factors:
    """Returns factors of a part of the kernel, as Hugging Face's PEFT begins with.

    Args:
      site: the layer.
      params: of the layer.
      rank: of the part.
      start: "pissa", the greatest singular values (Meng et al. 2024, arXiv:2404.02948); or "olora", the first columns
        of the kernel's QR decomposition (Büyükakyüz 2024, arXiv:2406.01775).
      scale: of the change; a·b of "pissa" is the part divided by it.

    Raises:
      InputError: the kernel has no such part.
    """
    rows, columns = math.prod(site.inputs), math.prod(site.outputs)
    if rank > min(rows, columns):
        side = min(rows, columns)
        raise InputError(f"adapters: {site.path}: start={start!r} needs a rank of at most {side}, not {rank}")
    kernel = jnp.asarray(params[site.leaf], jnp.float32).reshape(rows, columns)
    if start == "pissa":
        u, s, vt = jnp.linalg.svd(kernel, full_matrices=False)
        root = jnp.sqrt(s[:rank] / scale)
        a, b = u[:, :rank] * root, root[:, None] * vt[:rank]
    else:
        q, r = jnp.linalg.qr(kernel.T)
        a, b = r[:rank].T, q[:, :rank].T
    return a.reshape(*site.inputs, rank), b.reshape(rank, *site.outputs)


def check(start: str) -> None:
    """Raises an InputError if there is no such start."""
    if start not in ZERO + OF_KERNEL:
        raise unknown("start of an adapter:", start, ZERO + OF_KERNEL)
