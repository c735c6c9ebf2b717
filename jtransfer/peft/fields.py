"""Fields of methods: their checks, of which what is wrong is one line, and what is made of them."""

import math
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jtransfer.core.errors import InputError

MOST = 4096  # a greater rank is a slip, unless a kernel has a side as long


def whole(name: str, value: Any, least: int = 1, most: int | None = None) -> None:
    """Raises an `InputError` if a field is no whole number, or out of its bounds."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or int(value) < least or (most is not None and int(value) > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"adapters: {name}={value!r} must be a whole number, {bounds}")


def rank(value: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], name: str = "rank") -> None:
    """Raises an `InputError` if a field is no rank that a change of a kernel can have."""
    whole(name, value, 1, max(MOST, math.prod(inputs), math.prod(outputs)))


def number(name: str, value: Any) -> None:
    """Raises an `InputError` if a field is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"adapters: {name}={value!r} must be a finite number")


def positive(name: str, value: Any) -> None:
    """Raises an `InputError` if a field is no finite number above 0."""
    number(name, value)
    if value <= 0:
        raise InputError(f"adapters: {name}={value!r} must be a number above 0")


def rate(name: str, value: Any) -> None:
    """Raises an `InputError` if a field is no number at least 0 and below 1."""
    number(name, value)
    if not 0 <= value < 1:
        raise InputError(f"adapters: {name}={value!r} must be at least 0 and below 1")


def seed(value: Any) -> None:
    """Raises an `InputError` if a seed is no whole number of 32 bits."""
    whole("seed", value, 0, 2**32 - 1)


def divisor(name: str, factors: Any) -> Any:
    """Returns factors that parameters are to be divided by.

    Raises:
      InputError: one of them is zero, as far as the values are known.
    """
    if not isinstance(factors, Tracer) and not np.all(factors):
        raise InputError(f"adapters: a {name} of zero was merged, from which there is no way back; keep the parameters")
    return factors


def scale(alpha: float | None, rank: int) -> jax.Array:
    """Returns alpha / rank, float32 []; None stands for alpha = rank.

    Raises:
      InputError: alpha is no finite number.
    """
    if alpha is not None:
        number("alpha", alpha)
    return jnp.float32(1.0 if alpha is None else alpha / rank)


def kaiming(key: jax.Array, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """Returns what PyTorch's `kaiming_uniform_(a=√5)` draws: uniform within ±1 / √inputs."""
    bound = 1 / math.sqrt(inputs)
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def block(value: int | None, usual: int, size: int, path: str) -> int:
    """Returns the size of blocks that are to fill a size.

    Args:
      value: the size that is asked for; None stands for the one that fits and is nearest to the usual one.
      usual: the usual size.
      size: what is divided.
      path: of the module, for the error.

    Raises:
      InputError: the blocks don't fill the size, or have a single number.
    """
    fitting = [n for n in range(2, size + 1) if size % n == 0]
    if not fitting:
        raise InputError(f"adapters: {path} has {size} numbers to turn, which is no plane")
    if value is None:
        return min(fitting, key=lambda n: (abs(n - usual), n))
    whole("block_size", value, 2)
    if value not in fitting:
        close = sorted(sorted(fitting, key=lambda n: abs(n - value))[:3])
        raise InputError(
            f"adapters: block_size={value} does not divide the {size} numbers that {path} turns; nearest: "
            f"{', '.join(map(str, close))}"
        )
    return value
