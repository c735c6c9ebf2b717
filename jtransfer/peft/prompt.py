"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained vectors ahead of the embeddings of a text's tokens.

They take up the first positions, as in Hugging Face's PEFT.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import ahead, fields, stream
from jtransfer.peft.method import FIXED, Method, Site

CUT = "cut"  # fixed/cut [length]: as many places are taken away from what the module is given


def init(
    key: jax.Array, site: Site, params: Mapping[str, Any], *, length: int = 20, pooled: bool = False
) -> dict[str, Any]:
    """The prompts ahead of the tokens that one module embeds: `tokens` [length, d], drawn from the vocabulary.

    The stage after the layers is given the text's own places alone, so that pooling finds its first token.

    Args:
      key: a random key.
      site: the module that embeds texts; or the stage after the layers, where the prompts end.
      params: of the module.
      length: the number of vectors.
      pooled: whether what represents a text is taken from the prompts, too, as in Hugging Face's PEFT, where BERT's
        pooler is given the first of them.
    """
    fields.whole("length", length, 1, 1 << 16)
    if ahead.side(site.x) is None:
        return {} if pooled and not _by_token(site) else {FIXED: {CUT: jnp.zeros(length)}}
    features = stream.read(site.y).shape[-1]
    tables = [leaf for path, leaf in trees.flatten(params).items() if path.endswith("embedding")]
    table = next((leaf for leaf in tables if leaf.shape[-1] == features), None)
    if table is None:
        return {"tokens": 0.02 * jax.random.normal(key, (length, features))}
    return {"tokens": table[jax.random.randint(key, (length,), 0, len(table))].astype(jnp.float32)}


def _by_token(site: Site) -> bool:
    x, y = stream.read(site.x), stream.read(site.y)
    return y is not None and y.shape[:2] == x.shape[:2] and len(y.shape) == 3


def apply(module: Any, own: Mapping[str, Any], call: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module returns for the text with prompts; or, where they end, for the text alone."""
    inputs = stream.first(args, kwargs)
    if CUT in own.get(FIXED, {}):
        args, kwargs = stream.replaced(args, kwargs, ahead.shorter(inputs, own[FIXED][CUT].shape[-1]))
        return call(*args, **kwargs)
    if ahead.caching(module):
        raise InputError("an adapter 'prompt' can't be used token by token; 'prefix' can")
    args, kwargs = stream.replaced(args, kwargs, ahead.longer(module, inputs, len(own["tokens"])))
    with nn.intercept_methods(_embed(module, own["tokens"], inputs["input_ids"].shape[1])):
        return call(*args, **kwargs)


def _embed(module: nn.Module, prompts: jax.Array, tokens: int):
    """Puts prompts in place of what the first table gives for the places ahead of the tokens of texts."""
    done: list[nn.Module] = []

    def interceptor(call, args, kwargs, context):
        y = call(*args, **kwargs)
        is_table = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
        if done or not is_table or context.module.path[:-1] != module.path or y.ndim != 3:
            return y
        done.append(context.module)
        first, end = y.shape[1] - tokens - len(prompts), y.shape[1] - tokens
        return y.at[:, first:end].set(prompts.astype(y.dtype))

    return interceptor


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    if ahead.side(site.x) != "":
        return f"it is a {site.name}, which embeds no texts; give the stage that is called with input_ids"
    if not isinstance(site.y, Mapping) or "x" not in site.y:
        return f'what the {site.name} returns is no dict with "x"'
    if not any(child.kind == "embed" for child in site.children):
        return f"the {site.name} has no table of token embeddings directly inside"
    return ""


METHOD = Method(init, apply, serves, partners=ahead.end_of)
