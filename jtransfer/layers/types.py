"""Types that the annotations of layers and models share."""

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""An array of JAX, traced or not, or one of NumPy, which JAX's operations take as well."""

DType = jax.typing.DTypeLike
"""Anything that JAX takes as a dtype, such as `jnp.bfloat16`, `np.dtype("float32")` or `"float32"`."""
