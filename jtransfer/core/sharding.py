"""Device meshes, and the `NamedSharding` of parameters, optimizer state and batches, from tables of rules."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError

DATA = "data"
MODEL = "model"  # the axis of layers that are divided


def _of_transformers(rest: str, further: str) -> rules.Table:
    """Each layer of a transformer divided among the devices along "model", by the names that all families share.

    Attention and network begin with kernels that are cut by columns and end with one cut by rows, so that each has one
    sum over devices (Shoeybi et al., Megatron-LM, arXiv:1909.08053).
    """
    return [
        (".*/(query|key|value|fc1|gate|up)/(kernel|bias)", "columns" + further),
        (".*/(out|fc2|down)/kernel", "rows" + further),
        (".*/tokens/embedding", "rows" + further),
        (".*", rest),
    ]


PRESETS = {
    "replicate": [(".*", "replicate")],
    "fsdp": [(".*", "fsdp")],
    "tensor": _of_transformers("replicate", ""),
    "tensor_fsdp": _of_transformers("fsdp", "+fsdp"),
}


def make_mesh(axes: Mapping[str, int], devices: Any = None) -> Mesh:
    """Returns a mesh of devices with named axes, "data" first.

    Args:
      axes: Axis → its size; one size may be -1, which takes the devices that are left.
      devices: The devices, by default all.

    Raises:
      InputError: There is no axis "data", a size is not positive, or the sizes do not multiply to the number of
        devices.
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
    """Returns the shardings of parameters, as a tree of `NamedSharding`.

    Args:
      params: A tree of parameters, or a dict of variable collections; arrays or shapes.
      mesh: The mesh, from `make_mesh`.
      table: "replicate"; "fsdp"; "tensor", which divides the layers of transformers along the axis "model";
        "tensor_fsdp", which does both; or rules. The value of a rule is "replicate"; "fsdp", which cuts the largest
        dimension that the axis "data" divides along that axis; "columns" or "rows", which cuts the last or the first
        dimension, or else another one that it divides, along the axis "model", and with "+fsdp" a further one along
        "data"; or a tuple with the mesh axis, or None, of each dimension.

    Raises:
      InputError: As for `rules.match`; or a value does not fit the shape of a parameter.
    """
    values = trees.flatten(rules.match(_table(table, params), params, name="sharding"))
    return trees.map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf.shape, values[path], mesh)), params
    )


def of_state(state: Any, mesh: Mesh, table: str | rules.Table) -> Any:
    """Returns the shardings of a training state; optimizer moments and averages are sharded as their parameters are.

    Args:
      state: A `TrainState` of arrays or shapes.
      mesh: The mesh.
      table: As for `of_params`.
    """
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
    """Returns the sharding of a batch, whose examples are cut along the axis "data"."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def put_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Puts a batch on the devices.

    Args:
      batch: The part of this process, a pytree of [B / processes, …].
      mesh: The mesh.

    Returns:
      The batch of all processes, of arrays [B, …].
    """
    sharding = of_batch(mesh)
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), dict(batch))


def place(array: Any, sharding: NamedSharding) -> jax.Array:
    """Puts a host array, the same on each process, on the devices; each process copies only the part that it holds.

    Args:
      array: A NumPy array, or anything with a shape that returns one when it is sliced, such as a `LazyParam`.
      sharding: Its sharding.
    """
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def check_batch(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Checks that a batch can be cut along the axis "data" and into the parts of gradient accumulation.

    Args:
      batch_size: The number of examples in a batch.
      mesh: The mesh.
      accumulate: The number of parts.

    Raises:
      InputError: It can't be; the message has the nearest batch size that can.
    """
    ways = mesh.shape[DATA] * accumulate
    if batch_size % ways:
        close = max(ways, round(batch_size / ways) * ways)
        raise InputError(
            f"batch_size={batch_size} is not divisible by {mesh.shape[DATA]} devices along 'data' "
            f"times accumulate={accumulate}; the nearest that is: {close}"
        )


def _table(table: str | rules.Table, params: trees.Tree) -> rules.Table:
    """The rules of a table, of a preset those that match a parameter."""
    if not isinstance(table, str):
        return table
    if table not in PRESETS:
        raise InputError(f"sharding={table!r}: give {' or '.join(map(repr, PRESETS))}, or a table of rules")
    *divided, rest = PRESETS[table]
    used = [rule for rule in divided if any(re.fullmatch(rule[0], path) for path in trees.flatten(params))]
    if divided and not used:
        raise InputError(f"sharding={table!r} divides layers of transformers, and the model has none; give 'fsdp'")
    return [*used, rest]


def _spec(path: str, shape: tuple[int, ...], value: Any, mesh: Mesh) -> PartitionSpec:
    if value == "replicate":
        return PartitionSpec()
    if value in ("fsdp", "columns", "rows", "columns+fsdp", "rows+fsdp"):
        return _cut(shape, value, mesh)
    axes = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(axes) > len(shape) or any(axis is not None and axis not in mesh.shape for axis in axes):
        raise InputError(
            f"sharding: {value!r} does not fit {path} of shape {list(shape)} on the mesh {dict(mesh.shape)}"
        )
    bad = [i for i, axis in enumerate(axes) if axis is not None and shape[i] % mesh.shape[axis]]
    if bad:
        raise InputError(f"sharding: dimension {bad[0]} of {path} {list(shape)} is not divisible by the mesh {value!r}")
    return PartitionSpec(*axes)


def _cut(shape: tuple[int, ...], value: str, mesh: Mesh) -> PartitionSpec:
    axes: list[str | None] = [None] * len(shape)

    def divided(axis: str) -> list[int]:
        size = mesh.shape[axis]
        return [i for i, n in enumerate(shape) if n % size == 0 and n >= size and axes[i] is None]

    if value.startswith(("columns", "rows")):
        if MODEL not in mesh.shape:
            raise InputError(
                f"sharding: {value!r} cuts along the axis 'model', and the mesh has {list(mesh.shape)}; give "
                "config.mesh.model, a number of devices"
            )
        fits = divided(MODEL)
        if fits:
            axes[fits[-1] if value.startswith("columns") else fits[0]] = MODEL
    if value.endswith("fsdp"):
        fits = divided(DATA)
        if fits:
            axes[max(fits, key=lambda i: shape[i])] = DATA
    return PartitionSpec(*axes) if any(axes) else PartitionSpec()
