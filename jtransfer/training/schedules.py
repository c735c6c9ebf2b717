"""How the learning rate goes on from its height to the end of a phase; `optim.schedule` puts the warm-up before it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jtransfer.core.registry import Registry

SCHEDULES = Registry(
    "optim.schedule",
    {
        "constant": "jtransfer.training.schedules:constant",
        "cosine": "jtransfer.training.schedules:cosine",
        "linear": "jtransfer.training.schedules:linear",
        "onecycle": "jtransfer.training.schedules:onecycle",
    },
    {
        "constant": ("constant_with_warmup", "constant_schedule", "flat", "fixed"),
        "cosine": ("cosine_decay", "cosine_annealing", "CosineAnnealingLR", "cosine_with_warmup", "warmup_cosine"),
        "linear": ("linear_decay", "linear_with_warmup", "linear_schedule_with_warmup", "linear_warmup"),
        "onecycle": ("one_cycle", "1cycle", "OneCycleLR", "cosine_onecycle"),
    },
)
"""Name → `make(lr, steps) -> schedule`, a schedule of optax."""


def constant(lr: float, steps: int) -> optax.Schedule:
    """Returns the rate `lr` at every step."""
    return optax.constant_schedule(lr)


def linear(lr: float, steps: int) -> optax.Schedule:
    """Returns a straight line from `lr` to 0 over the steps."""
    return optax.linear_schedule(lr, 0.0, steps)


def cosine(lr: float, steps: int) -> optax.Schedule:
    """Returns half a cosine from `lr` to 0 over the steps (arXiv:1608.03983)."""
    return optax.cosine_decay_schedule(lr, steps)


def onecycle(lr: float, steps: int) -> optax.Schedule:
    """Returns one cycle (arXiv:1708.07120) with the rates of torch's `OneCycleLR`: from `lr / 25` up to `lr` over the
    first 30 % of the steps, and down to `lr / 250,000`, both as half a cosine."""
    lowest, peak = lr / 25.0, max(0.3 * steps - 1, 1e-9)
    down = max(steps - 1 - peak, 1e-9)

    def rate(step: Any) -> jax.Array:
        rising = _half_cosine(lowest, lr, step / peak)
        return jnp.where(step <= peak, rising, _half_cosine(lr, lowest / 1e4, (step - peak) / down))

    return rate


def _half_cosine(start: float, end: float, share: jax.Array) -> jax.Array:
    return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0.0, 1.0)))
