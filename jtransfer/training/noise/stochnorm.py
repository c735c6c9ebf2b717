"""StochNorm (Kou et al. 2020, NeurIPS): by chance, each channel is normalised by the batch's or the moving statistics.

Batch norms that are frozen stay as they are.
"""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.layers.frozen import freeze
from jtransfer.training.noise import Place
from jtransfer.training.noise.sites import matching, probability


def make(place: Place, *, p: float = 0.5, at: str = ".*"):
    """Returns the noise on batch norms.

    Args:
      place: the model's modules.
      p: the probability of the batch's statistics, for each channel of each batch norm in each step. 1 is usual
        training, and 0 normalises by the moving statistics alone, which still move.
      at: a regular expression of paths of batch norms.
    """
    p, paths = probability("stochnorm", p), matching(place.modules, nn.BatchNorm, at, "stochnorm")

    def noise(variables, key):
        return variables, _chosen(paths, p) if p < 1 else contextlib.nullcontext()

    return noise


def _chosen(paths: frozenset[str], p: float) -> contextlib.AbstractContextManager:
    running: set[int] = set()  # a batch norm is run once more inside its own call

    def interceptor(call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or id(module) in running or "/".join(module.path) not in paths:
            return call(*args, **kwargs)
        running.add(id(module))
        try:
            with freeze(lambda path: True):
                moving = module(*args, **kwargs)
            batch = call(*args, **kwargs)
        finally:
            running.discard(id(module))
        axes = (module.axis,) if isinstance(module.axis, int) else module.axis
        axes = {axis % batch.ndim for axis in axes}
        shape = tuple(n if i in axes else 1 for i, n in enumerate(batch.shape))
        return jnp.where(jax.random.bernoulli(module.make_rng("dropout"), p, shape), batch, moving)

    return nn.intercept_methods(interceptor)
