"""Types that the annotations of layers and models share."""

from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array of JAX, traced or not, or one of NumPy, which JAX's operations take as well."""

Size = Any
"""The length of an axis: an int, or a symbolic dimension where a program is exported for any length."""

DType = jax.typing.DTypeLike
"""Anything that JAX takes as a dtype, such as `jnp.bfloat16`, `np.dtype("float32")` or `"float32"`."""
