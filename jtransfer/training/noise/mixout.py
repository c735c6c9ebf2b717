"""Mixout (Lee et al. 2020, arXiv:1909.11299): weights are replaced by those that the run began with, by chance."""

import contextlib

import jax
import jax.numpy as jnp

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.training.noise import Place
from jtransfer.training.noise.sites import probability


def make(place: Place, *, p: float = 0.7, at: str = r"(?!head/).*/kernel"):
    """Returns the noise on parameters.

    Each number w of a parameter is w₀, with which the run began, with the probability p, and the rest is scaled so that
    the expectation is w: (m·w₀ + (1 − m)·w − p·w₀) / (1 − p). Frozen parameters are left alone.

    Args:
      place: the model's parameters, and which are trained.
      p: the probability; 0 is usual training.
      at: a regular expression of paths of parameters; as published, all kernels that began with the source's values.
    """
    p, table = probability("mixout", p, below_one=True), [(at, True), (".*", False)]
    chosen = trees.flatten(rules.match(table, place.params, name="noise: 'mixout': at"))
    trained, ever = trees.flatten(place.trainable), trees.flatten(place.ever)
    paths = [path for path, mixed in chosen.items() if mixed and trained.get(path, False)]
    if not any(mixed and ever.get(path, False) for path, mixed in chosen.items()):
        raise InputError(f"noise: 'mixout': no parameter that at={at!r} matches is trained; leave it out")

    def noise(variables, key):
        if not p or not paths:
            return variables, contextlib.nullcontext()
        params, initial = trees.flatten(variables["params"]), trees.flatten(variables["initial"])
        for number, path in enumerate(paths):
            now, begun = params[path], jax.lax.stop_gradient(initial[path]).astype(params[path].dtype)
            stays = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - p, now.shape)
            params[path] = (jnp.where(stays, now, begun) - p * begun) / (1 - p)
        return {**variables, "params": trees.unflatten(params)}, contextlib.nullcontext()

    return noise


make.needs_initial = True  # pyright: ignore[reportFunctionMemberAccess]
