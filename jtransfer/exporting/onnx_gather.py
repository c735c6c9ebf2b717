"""JAX's gather, which has one form for all ways to index, in nodes of ONNX. Indices are taken to lie inside."""

import math
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.exporting.onnx_graph import Graph, Value


def gather(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    """Adds what looks up rows of a table, takes single elements along the first axes, or slices at known places.

    Raises:
      InputError: it is another kind of gather.
    """
    (x, indices), numbers, sizes = inputs, eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    mapped, batched = tuple(numbers.start_index_map), tuple(numbers.operand_batching_dims)
    taken = (*batched, *numbers.collapsed_slice_dims)
    kept = [i for i in range(len(x.dims)) if i not in taken]
    whole = all(_is(sizes[i], x.dims[i]) for i in kept) and all(sizes[i] == 1 for i in taken)
    if indices.array is not None and indices.array.ndim == 1 and not batched:
        return _at_known_place(graph, x, indices.array, mapped, sizes, numbers.collapsed_slice_dims)
    if len(indices.dims) == 1 and not batched and all(_is(sizes[i], x.dims[i]) for i in kept if i not in mapped):
        return _at_place(graph, x, indices, mapped, sizes, numbers.collapsed_slice_dims)
    if whole and len(mapped) == 1 and not batched and set(taken) == set(mapped):
        flat = graph.reshape(indices, indices.dims[:-1])
        (axis,) = mapped
        dims = (*x.dims[:axis], *flat.dims, *x.dims[axis + 1 :])
        found = graph.value("Gather", [x, flat], dims, x.dtype, axis=axis)
        places = range(axis, axis + len(flat.dims))
        return _arranged(graph, found, [i for i in range(len(dims)) if i not in places], list(places), numbers)
    if whole and set(taken) == {*batched, *mapped}:
        beside = tuple(numbers.start_indices_batching_dims)
        order = [*beside, *(i for i in range(len(indices.dims) - 1) if i not in beside)]
        at = graph.cast(graph.transpose(indices, [*order, len(order)]), np.int64)
        turned = graph.transpose(x, [*batched, *mapped, *kept])
        dims = (*at.dims[:-1], *(x.dims[i] for i in kept))
        found = graph.value("GatherND", [turned, at], dims, x.dtype, batch_dims=len(batched))
        places = [order.index(i) for i in range(len(order))]
        return _arranged(graph, found, list(range(len(order), len(dims))), places, numbers)
    raise InputError("ONNX: this way to index an array is not written yet")


def _is(a: Any, b: Any) -> bool:
    return str(a) == str(b)


def _arranged(graph: Graph, found: Value, offset: list[int], places: list[int], numbers: Any) -> Value:
    """The axes in the order that the gather asks for: those of slices at `offset_dims`, the others between them."""
    offset_at, rest, order = iter(offset), iter(places), []
    for i in range(len(found.dims)):
        order.append(next(offset_at) if i in numbers.offset_dims else next(rest))
    return graph.transpose(found, order)


def _at_known_place(
    graph: Graph, x: Value, at: np.ndarray, mapped: tuple[int, ...], sizes: Any, collapsed: Any
) -> Value:
    starts: list[Any] = [0] * len(x.dims)
    for axis, start in zip(mapped, at.tolist(), strict=True):
        most = x.dims[axis] - sizes[axis] if isinstance(x.dims[axis], int) else math.inf
        starts[axis] = max(0, min(int(start), most))
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    part = graph.slice(x, starts, ends, [1] * len(starts), tuple(sizes))
    return _collapsed(graph, part, sizes, collapsed)


def _at_place(graph: Graph, x: Value, at: Value, mapped: tuple[int, ...], sizes: Any, collapsed: Any) -> Value:
    starts = graph.cast(at, np.int64)
    ends = graph.add("Add", [starts.name, graph.shape(tuple(sizes[i] for i in mapped))])
    part = graph.value("Slice", [x, starts], sizes, x.dtype, ends, graph.integers(mapped))
    return _collapsed(graph, part, sizes, collapsed)


def _collapsed(graph: Graph, part: Value, sizes: Any, collapsed: Any) -> Value:
    return graph.reshape(part, tuple(size for i, size in enumerate(sizes) if i not in collapsed))
