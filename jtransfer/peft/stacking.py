"""Adapters of a module in a scan over layers: arrays with leading axes more, one for each scan."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jtransfer.peft.method import FIXED

STACKED = "stacked"  # [L, …], fixed, of a module in a scan over L layers: how many leading axes all arrays have more


def axes(own: Mapping[str, Any]) -> int:
    """Returns how many leading axes the arrays of an adapter have more than those of one layer."""
    fixed = own.get(FIXED, {})
    return fixed[STACKED].ndim if STACKED in fixed else 0


def of_each(change: Callable[..., Any], own: Mapping[str, Any]) -> Callable[..., Any]:
    """Returns a function of the arrays of one layer as one of those of all layers that an adapter has."""
    for _ in range(axes(own)):
        change = jax.vmap(change)
    return change
