"""A training state of a few numbers, and a folder with checkpoints of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jtransfer.core import tree as trees
from jtransfer.training import checkpoint, state

VARIABLES = {
    "params": {
        "stem": {"kernel": jnp.arange(12.0).reshape(3, 4)},
        "head": {"kernel": jnp.arange(600.0).reshape(20, 30) / 7, "bias": jnp.full(5, 0.5)},
    },
    "batch_stats": {"stem": {"mean": jnp.arange(4.0)}},
}


def of_step(step):
    """The state after a step: each of its numbers tells the step."""
    mask = {"stem": {"kernel": False}, "head": {"kernel": True, "bias": True}}
    begun = state.create(VARIABLES, {"params": mask}, optax.adam(0.1), seed=0, ema=True)
    moved = jax.tree.map(lambda x: x + step if jnp.issubdtype(x.dtype, jnp.floating) else x, begun.replace(frozen={}))
    return moved.replace(step=jnp.int32(step), frozen=begun.frozen)


def shapes():
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), of_step(0))


def write(folder, steps, scores=(), **options):
    """Saves checkpoints of these steps, each with its score where it has one."""
    scores = dict(scores)
    with checkpoint.open_checkpoints(folder, every=1, **options) as checkpoints:
        for step in steps:
            save(checkpoints, folder, step, scores.get(step))
    return folder


def save(checkpoints, folder, step, score=None):
    base = checkpoint.write_base(folder, "only", of_step(0).frozen)
    checkpoint.save(checkpoints, step, of_step(step), {"phase": "only", "base": base}, score=score, force=True)


def expected(step):
    return of_step(step).variables(average=True)


def is_of(variables, step):
    """Whether variables are those of a step, bit for bit."""
    found, wanted = trees.flatten(variables), trees.flatten(expected(step))
    return found.keys() == wanted.keys() and all(
        np.asarray(found[path]).tobytes() == np.asarray(wanted[path]).tobytes() for path in wanted
    )


def is_state_of(found, step):
    return jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), found, of_step(step)))


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def resumed(run):
    return checkpoint.resume(run, lambda position: shapes())


def flip(path, bit):
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)


def data_of(folder):
    """The file that has most of the arrays of a tree."""
    return max((folder / "d").iterdir(), key=lambda path: path.stat().st_size)
