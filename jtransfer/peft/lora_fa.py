"""LoRA-FA (Zhang et al. 2023, arXiv:2308.03303): LoRA of which `a` stays as drawn, so that less is kept for `b`."""

from collections.abc import Mapping
from typing import Any

import jax

from jtransfer.peft import factors, features, lora
from jtransfer.peft.method import FIXED, Method, Site, linear


def init(
    key: jax.Array,
    site: Site,
    params: Mapping[str, Any],
    *,
    rank: int = 8,
    alpha: float | None = None,
    rslora: bool = False,
    dropout: float = 0.0,
) -> dict[str, Any]:
    """The adapter of one layer: that of LoRA with `a` fixed, and `b`.

    Args:
      key, site, params, rank, alpha, rslora, dropout: as of LoRA.
    """
    own = lora.init(key, site, params, rank=rank, alpha=alpha, rslora=rslora, dropout=dropout)
    return {"b": own["b"], FIXED: {**own[FIXED], "a": own["a"]}}


def serves(site: Site) -> str:
    """Why a module can't be adapted so, or ""."""
    if site.kind == "embed":
        return (
            "of an embedding, LoRA draws b and begins with a as zero, so that a fixed one would never change anything"
        )
    return linear(site)


METHOD = Method(
    init, lora.apply, serves, lora.merge, lora.unmerge, delta=factors.change, scale=features.scaled, pad=lora.padded
)
