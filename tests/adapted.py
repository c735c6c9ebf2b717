"""Models with adapters for tests, drawn without compiling much."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import peft
from jtransfer.core import tree as trees

jitted = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiled in half the time


def variables_of(model, x):
    """Variables of a model, drawn by numpy: kernels with variance 1 / fan-in, scales near 1, all else near 0."""
    return trees.map_with_path(_weight, jax.eval_shape(model.init, jax.random.key(0), x))


def _weight(path, shape):
    if len(shape.shape) > 1:
        return jnp.asarray(noise(path, shape.shape) / np.sqrt(np.prod(shape.shape[:-1])))
    return jnp.asarray(0.1 * np.abs(noise(path, shape.shape)) + (not path.endswith(("bias", "mean"))), jnp.float32)


def noise(path, shape):
    """Normal numbers, float32: a function of the path and the shape."""
    return np.random.default_rng(zlib.crc32(path.encode())).normal(size=shape).astype(np.float32)


def adapters_of(sites, params, rows, by=0.05):
    """Adapters in which every trained leaf has moved a little."""
    begun = jitted(lambda params: peft.init(jax.random.key(2), rows, sites, params))(params)
    return trees.map_with_path(lambda p, leaf: leaf if "/fixed/" in p else leaf + by * noise(p, leaf.shape), begun)
