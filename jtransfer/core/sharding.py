"""The mesh, and rules → `NamedSharding` for parameters, optimizer state and batches. Sharding is data."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError

PRESETS = {"replicate": [(".*", "replicate")], "fsdp": [(".*", "fsdp")]}
DATA = "data"


def make_mesh(axes: Mapping[str, int], devices: Any = None) -> Mesh:
    """A mesh of all devices with the named axes, "data" first; one size may be -1: what is left.

    Raises:
      InputError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    names = sorted(axes, key=lambda name: name != DATA)
    sizes = [axes[name] for name in names]
    if bad := [size for size in sizes if not isinstance(size, int) or (size < 1 and size != -1)]:
        raise InputError(f"mesh {dict(axes)}: {bad[0]!r} must be a positive number, or -1 for what is left")
    known = int(np.prod([size for size in sizes if size != -1]))
    if sizes.count(-1) == 1 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if DATA not in axes or int(np.prod(sizes)) != len(devices):
        raise InputError(
            f"mesh {dict(axes)} needs an axis 'data' and sizes that multiply to the {len(devices)} devices"
        )
    return jax.make_mesh(tuple(sizes), tuple(names), axis_types=(AxisType.Auto,) * len(names), devices=devices)


def of_params(params: trees.Tree, mesh: Mesh, table: str | rules.Table) -> dict:
    """Parameters (arrays or shapes) → a tree of `NamedSharding`.

    Args:
      params: a tree of parameters, or a dict of variable collections.
      mesh: from `make_mesh`.
      table: "replicate", "fsdp", or rules with the values "replicate", "fsdp" (the largest dimension that the axis
        "data" divides is cut along it) or a tuple with the mesh axis, or None, of each dimension.
    """
    values = trees.flatten(rules.match(_table(table), params, name="sharding"))
    return trees.map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf.shape, values[path], mesh)), params
    )


def of_state(state: Any, mesh: Mesh, table: str | rules.Table) -> Any:
    """A `TrainState` of shapes → the same tree of `NamedSharding`; moments and averages lie as their parameters do."""
    held = trees.merge(state.trainable, state.frozen, state.model_state)
    params = trees.flatten(of_params(held, mesh, table))
    shapes = {path: leaf.shape for path, leaf in trees.flatten(held).items()}
    everywhere = NamedSharding(mesh, PartitionSpec())

    def place(keys, leaf):
        names = [str(key.key) for key in keys if isinstance(key, jax.tree_util.DictKey)]
        for i in range(len(names)):
            path = "/".join(names[i:])
            if shapes.get(path) == leaf.shape:
                return params[path]
        return everywhere

    return jax.tree_util.tree_map_with_path(place, state)


def of_batch(mesh: Mesh) -> NamedSharding:
    """Examples are cut along "data"."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """This process's part of a batch, a pytree of [B / processes, …] → the global batch [B, …] on the devices."""
    sharding = of_batch(mesh)
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), dict(batch))


def place(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """A host array, the same on each process, straight into its sharding; each process copies only what it holds."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def check_batch(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raises InputError if a batch can't be cut over the axis "data" and the parts of accumulation."""
    ways = mesh.shape[DATA] * accumulate
    if batch_size % ways:
        close = max(ways, round(batch_size / ways) * ways)
        raise InputError(
            f"batch_size={batch_size} is not divisible by {mesh.shape[DATA]} devices along 'data' "
            f"times accumulate={accumulate}; the nearest that is: {close}"
        )


def _table(table: str | rules.Table) -> rules.Table:
    if not isinstance(table, str):
        return table
    if table not in PRESETS:
        raise InputError(f"sharding={table!r}: give {' or '.join(map(repr, PRESETS))}, or a table of rules")
    return PRESETS[table]


def _spec(path: str, shape: tuple[int, ...], value: Any, mesh: Mesh) -> PartitionSpec:
    if value == "replicate":
        return PartitionSpec()
    if value == "fsdp":
        size = mesh.shape[DATA]
        fits = [i for i, n in enumerate(shape) if n % size == 0 and n >= size]
        best = max(fits, key=lambda i: shape[i], default=None)
        return PartitionSpec(*(DATA if i == best else None for i in range(len(shape)))) if fits else PartitionSpec()
    axes = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(axes) > len(shape) or any(axis is not None and axis not in mesh.shape for axis in axes):
        raise InputError(
            f"sharding: {value!r} does not fit {path} of shape {list(shape)} on the mesh {dict(mesh.shape)}"
        )
    bad = [i for i, axis in enumerate(axes) if axis is not None and shape[i] % mesh.shape[axis]]
    if bad:
        raise InputError(f"sharding: dimension {bad[0]} of {path} {list(shape)} is not divisible by the mesh {value!r}")
    return PartitionSpec(*axes)
