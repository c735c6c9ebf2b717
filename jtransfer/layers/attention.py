"""Multi-head attention as a module."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jtransfer.core.errors import InputError
from jtransfer.layers.attend import Bias, attend, further
from jtransfer.layers.cudnn import real
from jtransfer.layers.dropout import Later
from jtransfer.layers.seen import Asked, Lengths, Mask, Seen, mask_of
from jtransfer.layers.types import Array, DType

Rotate = Callable[[Float[Array, "b n h d"], Int[Array, "#b n"]], Float[Array, "b n h d"]]


class Attention(nn.Module):
    """Multi-head attention from a sequence to itself or to another one.

    Parameters: `query`, `key`, `value` and `out`, each a dense layer with a kernel [in, out] whose columns (rows, for
    `out`) are those of one head after the other. So a low-rank adapter or a sharding rule sees plain matrices.

    Decoding: where the collection "cache" is mutable, the first call makes a cache of keys and values that is as long
    as its own sequence. It holds zeros; nothing is in it yet. Each further call appends its keys and values and attends
    to all that are there, so `mask` and `bias` then have the length of the cache as their last axis. Keys and values of
    a `context` are computed in the first call alone and kept. The counter "next" in the cache is the place of what is
    appended; as int32 [b] it is a place of each example's own.

    Attributes:
      num_heads: The number of heads of queries.
      dtype: The dtype of the computation.
      causal: Whether a position attends to itself and to those before it only.
      num_kv_heads: The number of heads of keys and values, which divides `num_heads`; several query heads then share
        one (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245). None means `num_heads`.
      head_dim: The number of features of a head. None means the input's features divided by `num_heads`.
      use_bias: Whether query, key and value have biases.
      out_bias: Whether the output has a bias; None means `use_bias`.
      scale: The factor of the logits; None means head_dim^-1/2.
      dropout: The rate at which attention weights are dropped in training.
      rotate: A function (queries or keys, positions) → the same shape, for rotary position embeddings.
      kernel_init: The initialiser of the kernels.
      norm: The constructor of a norm over the features of a head, applied to queries and to keys before `rotate`.
      window: With `causal`, a position attends to the last `window` positions only, itself included.
      softcap: Logits stay within ±softcap, by softcap · tanh(logits / softcap). None means no bound.
      query_init: The initialiser of the query's kernel; None means `kernel_init`.
      kernel: What computes the attention: "auto", "composed", "cudnn" or "splash", see `attend`.
      attention_fn: What computes the attention of queries to keys and values, called as `attend` is.

    References:
      Vaswani et al., Attention Is All You Need, arXiv:1706.03762, 2017.
    """

    num_heads: int
    dtype: DType = jnp.float32
    causal: bool = False
    num_kv_heads: int | None = None
    head_dim: int | None = None
    use_bias: bool = True
    out_bias: bool | None = None
    scale: float | None = None
    dropout: float = 0.0
    rotate: Rotate | None = None
    kernel_init: Callable = nn.initializers.xavier_uniform()
    norm: Callable[..., nn.Module] | None = None
    window: int | None = None
    softcap: float | None = None
    query_init: Callable | None = None
    kernel: str = "auto"
    attention_fn: Callable[..., Array] = attend

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m c"] | None = None,
        *,
        mask: Mask | None = None,
        lengths: Lengths | None = None,
        bias: Bias | None = None,
        positions: Int[Array, "#b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Attends from each position of x to those of `context`, or of x itself.

        Args:
          x: The sequence that queries are made of.
          context: The sequence that keys and values are made of, if it is another one.
          mask: False where a query must not attend to a key.
          lengths: The number of keys of each example before its padding, in place of such a mask. Fused kernels skip
            what comes after them.
          bias: Added to the logits before the softmax.
          positions: The positions of x, for `rotate`; by default 0, 1, ….
          train: Whether attention weights are dropped, with the random stream "dropout".

        Returns:
          An array of the shape of x, in the dtype of the computation.
        """
        head_dim = self.head_dim or x.shape[-1] // self.num_heads
        num_kv_heads = self.num_kv_heads or self.num_heads
        if self.num_heads % num_kv_heads:
            raise InputError(f"num_heads={self.num_heads} is no multiple of num_kv_heads={num_kv_heads}")
        seen = Seen(self.causal, self.window if self.causal else None, lengths)
        drop = Later(self.dropout)(deterministic=not train)
        shape, n = jax.ShapeDtypeStruct, x.shape[1]
        q, k = (shape((*x.shape[:2], count, head_dim), self.dtype) for count in (self.num_heads, num_kv_heads))
        alone = context is None and not self._caching() and self.attention_fn is attend
        if more := alone and further(self.kernel, Asked(q, k, seen, mask, bias, self.softcap, drop)):
            x, seen = _pad(x, more), seen._replace(lengths=jnp.full(len(x), n) if lengths is None else lengths)
            positions = positions if positions is None else _pad(positions, more)
        whole = x if context is None else context

        def project(name, of, count):
            init = self.query_init if name == "query" and self.query_init else self.kernel_init
            y = nn.Dense(count * head_dim, self.use_bias, self.dtype, kernel_init=init, name=name)(of)
            return y.reshape(*of.shape[:-1], count, head_dim)

        def normed(name, y):
            return y if self.norm is None else self.norm(name=f"{name}_norm")(y)

        def keys_and_values():
            return normed("key", project("key", whole, num_kv_heads)), project("value", whole, num_kv_heads)

        q, first = normed("query", project("query", x, self.num_heads)), 0
        if context is not None:
            k, v = self._keep(keys_and_values)
        else:
            k, v = keys_and_values()
            if self.rotate is not None:
                positions = jnp.arange(x.shape[1])[None] if positions is None else positions
                q, k = self.rotate(q, positions), self.rotate(k, positions)
            k, v = (real(k, n), real(v, n)) if more else (k, v)
            if self._caching():
                k, v, first = self._append(k, v)
        if self._caching():
            mask, seen = mask_of(q.shape[1], k.shape[1], seen, mask, first), Seen()
        how = {"scale": self.scale, "softcap": self.softcap, "drop": drop, "kernel": self.kernel}
        y = self.attention_fn(q, k, v, mask=mask, bias=bias, **seen._asdict(), **how)[:, :n]
        use_bias = self.use_bias if self.out_bias is None else self.out_bias
        out = nn.Dense(x.shape[-1], use_bias, self.dtype, kernel_init=self.kernel_init, name="out")
        return out(y.reshape(*y.shape[:2], -1))

    def _caching(self) -> bool:
        return self.is_mutable_collection("cache") and not self.is_initializing()

    def _keep(self, make):
        """The keys and values that `make` gives, made once where there is a cache."""
        if not self._caching():
            return make()
        return self.variable("cache", "seen", make).value

    def _append(self, k, v):
        """All keys and values so far, and the place of the first new one.

        They are kept as [batch, heads, positions, features], which products with them read in place.
        """
        k, v = (part.swapaxes(1, 2) for part in (k, v))
        begun = self.has_variable("cache", "next")
        keys = self.variable("cache", "keys", jnp.zeros_like, k)
        values = self.variable("cache", "values", jnp.zeros_like, v)
        place = self.variable("cache", "next", lambda: jnp.zeros((), jnp.int32))
        first = place.value
        if begun:
            keys.value, values.value = _put(keys.value, k, first), _put(values.value, v, first)
            place.value = first + k.shape[2]
        return keys.value.swapaxes(1, 2), values.value.swapaxes(1, 2), first


def _pad(x: Array, more: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, more), *((0, 0),) * (x.ndim - 2)))


def _put(
    whole: Float[Array, "b h m d"], new: Float[Array, "b h n d"], first: Int[Array, ""] | Int[Array, " b"]
) -> Float[jax.Array, "b h m d"]:
    """Writes new keys or values into a cache, from one place on, or from a place of each example's own."""
    if not first.ndim:
        return jax.lax.dynamic_update_slice_in_dim(whole, new, first, axis=2)
    return jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=1))(whole, new, first)
