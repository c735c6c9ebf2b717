"""Visual prompt tuning (Jia et al. 2022, arXiv:2203.12119): trained tokens beside those of an image.

Shallow: ahead of what the embedding returns, until the layers end. Deep: each layer has its own, which are there for
that layer alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.peft import ahead, fields, stream
from jtransfer.peft.method import FIXED, Method, Site

CUT = "cut"  # fixed/cut [length]: as many tokens are taken away from what the module is given


def init(key: jax.Array, site: Site, params: Mapping[str, Any], *, length: int = 10) -> dict[str, Any]:
    """The tokens of one module: `shallow` or `deep` [length, d], drawn with a standard deviation of 0.02.

    Args:
      key: a random key.
      site: the stage that embeds images, or a layer; or the stage after the layers, where shallow ones end.
      params: of the module, not used.
      length: the number of tokens.
    """
    fields.whole("length", length, 1, 1 << 16)
    if not _embeds(site) and not ahead.passes_on(site):
        return {FIXED: {CUT: jnp.zeros(length)}}
    name = "deep" if ahead.passes_on(site) else "shallow"
    return {name: 0.02 * jax.random.normal(key, (length, stream.read(site.y).shape[-1]))}


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns with the tokens; or, where they end, without them."""
    if "shallow" in own:
        return _ahead(own["shallow"], call(*args, **kwargs))
    if "deep" in own:
        longer = _ahead(own["deep"], stream.first(args, kwargs))
        args, kwargs = stream.replaced(args, kwargs, longer)
        return ahead.shorter(call(*args, **kwargs), len(own["deep"]))
    shorter = ahead.shorter(stream.first(args, kwargs), own[FIXED][CUT].shape[-1])
    args, kwargs = stream.replaced(args, kwargs, shorter)
    return call(*args, **kwargs)


def _ahead(tokens: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.broadcast_to(tokens.astype(x.dtype), (len(x), *tokens.shape)), x], axis=1)


def _embeds(site: Site) -> bool:
    x, y = site.x, site.y
    return hasattr(x, "shape") and hasattr(y, "shape") and len(x.shape) == 4 and len(y.shape) == 3


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    layer = ahead.passes_on(site) and not isinstance(site.x, Mapping)
    if _embeds(site) or (layer and site.children and "attention_fn" not in site.fields):
        return ""
    return (
        f"it is a {site.name}; visual prompts are for the stage that makes a sequence [b, n, d] of an image, or for "
        "layers from one such sequence to another"
    )


def partners(site: Site, sites: Mapping[str, Site]) -> Iterable[Site]:
    """The stage at which shallow tokens end."""
    return ahead.end_of(site, sites) if _embeds(site) else ()


METHOD = Method(init, apply, serves, partners=partners)
