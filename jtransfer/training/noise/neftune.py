"""NEFTune (Jain et al. 2023, arXiv:2310.05914): uniform noise on the embeddings of tokens.

Its size is that of the paper's own code, where a text's length L is the number of its real tokens. Libraries that take
the width of the padded batch in place of L give short texts less noise.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError
from jtransfer.training.noise import Place
from jtransfer.training.noise.sites import matching

TOKENS = r"(.*/)?(tokens|word_embeddings|token_embed(ding)?s?|embed_tokens|wte|shared)"


def make(place: Place, *, alpha: float = 5.0, at: str = TOKENS):
    """Returns the noise on embeddings.

    Args:
      place: the model's modules.
      alpha: the noise is uniform in ±alpha / √(L·d), for a text of L tokens and embeddings of width d; 0 is none.
      at: a regular expression of paths of `nn.Embed`.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha < float("inf"):
        raise InputError(f"noise: 'neftune': alpha={alpha!r} must be a number, 0 or more")
    paths = matching(place.modules, nn.Embed, at, "neftune")

    def noise(variables, key):
        seen: list[jax.Array] = []  # the attention mask of the pass

        def interceptor(call, args, kwargs, context):
            module = context.module
            y = args[0] if args else None
            if context.method_name == "__call__" and not module.path:
                seen[:] = [y["attention_mask"]] if isinstance(y, Mapping) and "attention_mask" in y else []
            out = call(*args, **kwargs)
            if not alpha or context.method_name != "__call__" or "/".join(module.path) not in paths:
                return out
            return out + _uniform(module.make_rng("dropout"), out, seen[0] if seen else None, alpha)

        return variables, nn.intercept_methods(interceptor)

    return noise


def _uniform(key: jax.Array, embedded: jax.Array, mask: jax.Array | None, alpha: float) -> jax.Array:
    width = embedded.shape[-1]
    real = jnp.ones(embedded.shape[:-1], jnp.float32)
    if mask is not None and mask.shape == real.shape:
        real = mask.astype(jnp.float32)
    lengths = jnp.maximum(real.sum(-1, keepdims=True), 1)
    size = real * alpha / jnp.sqrt(lengths * width)
    drawn = jax.random.uniform(key, embedded.shape, jnp.float32, -1, 1)
    return (drawn * size[..., None]).astype(embedded.dtype)
