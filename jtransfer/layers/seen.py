"""Which keys a query attends to, in the words that fused kernels of attention know, and as a mask."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from jtransfer.layers.dropout import Drawn
from jtransfer.layers.types import Array, Size

Mask = Bool[Array, "#b #h #q m"]
Lengths = Int[Array, " b"]


class Seen(NamedTuple):
    """Which keys a query attends to.

    Attributes:
      causal: Query i attends to keys 0, …, i only.
      window: With `causal`, to the last `window` of these only.
      lengths: To the first `lengths` keys of each example only, int32 [b]. None means all.
    """

    causal: bool = False
    window: int | None = None
    lengths: Lengths | None = None


class Asked(NamedTuple):
    """What a kernel of attention is asked for; the fields are the arguments of `attend.attend`.

    Attributes:
      q: Queries [b, n, h, d], or their shape and dtype.
      k: Keys [b, m, g, d], likewise.
      seen: Which keys a query attends to.
      mask: What is seen beside that, or None.
      bias: Added to the logits, or None.
      softcap: The bound of the logits, or None.
      drop: Which attention weights are dropped, or None.
    """

    q: Array | jax.ShapeDtypeStruct
    k: Array | jax.ShapeDtypeStruct
    seen: Seen
    mask: Mask | None = None
    bias: Array | None = None
    softcap: float | None = None
    drop: Drawn | None = None

    @property
    def uneven(self) -> bool:
        """Whether it is causal without as many queries as keys, which no kernel can do."""
        return self.seen.causal and self.q.shape[1] != self.k.shape[1]


def mask_of(queries: Size, keys: Size, seen: Seen, mask: Mask | None = None, first: int | Array = 0) -> Mask | None:
    """Returns the mask that says which keys are seen, together with another mask; None where all are.

    Args:
      queries: The number of queries.
      keys: The number of keys.
      seen: Which keys a query attends to.
      mask: Another mask.
      first: The place of the first query among the keys, of all examples or int [b].
    """
    if seen.causal:
        back = jnp.reshape(first, (-1, 1, 1, 1)) + jnp.arange(queries)[:, None] - jnp.arange(keys)
        causal = (back >= 0) if seen.window is None else (back >= 0) & (back < seen.window)
        mask = _both(mask, causal)
    if seen.lengths is not None:
        mask = _both(mask, (jnp.arange(keys) < seen.lengths[:, None])[:, None, None])
    return mask


def _both(a: Mask | None, b: Mask) -> Mask:
    return b if a is None else a & b


def padding(stream: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns what says which keys are padding among what passes between stages of texts: `lengths`, or else `mask`, as
    arguments of an attention.

    Args:
      stream: has "mask" and may have "lengths", which say the same; None for no padding.
      prefix: of these names.
    """
    name = "lengths" if f"{prefix}lengths" in stream else "mask"
    return {name: stream[prefix + name]}
