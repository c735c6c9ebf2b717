"""JAX's primitives of whole arrays, as far as models in evaluation use them, in nodes of ONNX."""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.exporting.onnx_elementwise import Rule
from jtransfer.exporting.onnx_graph import Graph, Value


def _broadcast_in_dim(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    """The axes alone; what is repeated is so where a node needs it."""
    dims: list[Any] = [1] * len(eqn.params["shape"])
    for axis, dim in zip(eqn.params["broadcast_dimensions"], inputs[0].dims, strict=True):
        dims[axis] = dim
    return graph.reshape(inputs[0], tuple(dims))


def _reshape(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return graph.reshape(inputs[0], eqn.outvars[0].aval.shape)


def _transpose(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return graph.transpose(inputs[0], eqn.params["permutation"])


def _concatenate(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    aval = eqn.outvars[0].aval
    return graph.value("Concat", inputs, aval.shape, aval.dtype, axis=eqn.params["dimension"])


def _slice(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or [1] * len(starts)
    return graph.slice(inputs[0], starts, ends, steps, eqn.outvars[0].aval.shape)


def _rev(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    (x,), turned = inputs, eqn.params["dimensions"]
    axes = range(len(x.dims))
    starts, ends = [-1 if i in turned else 0 for i in axes], [None if i in turned else x.dims[i] for i in axes]
    return graph.slice(x, starts, ends, [-1 if i in turned else 1 for i in axes], x.dims)


def _dynamic_slice(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    x, *starts = inputs
    aval, one = eqn.outvars[0].aval, (1,)
    first = graph.add("Concat", [graph.reshape(graph.cast(i, np.int64), one).name for i in starts], axis=0)
    last = graph.add("Add", [first, graph.shape(eqn.params["slice_sizes"])])
    return graph.value("Slice", [x], aval.shape, aval.dtype, first, last, graph.integers(range(len(starts))))


def _pad(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    x, filled = inputs
    config = eqn.params["padding_config"]
    if any(between for *_, between in config):
        raise InputError("ONNX: padding between elements is not written yet")
    cut = (
        [max(-low, 0) for low, *_ in config],
        [dim + min(high, 0) for (_, high, _), dim in zip(config, x.dims, strict=True)],
    )
    dims = tuple(b - a for a, b in zip(*cut, strict=True))
    x = graph.slice(x, *cut, [1] * len(config), dims)
    pads = [max(low, 0) for low, *_ in config] + [max(high, 0) for _, high, _ in config]
    if not any(pads):
        return x
    aval = eqn.outvars[0].aval
    return graph.value("Pad", [x], aval.shape, aval.dtype, graph.integers(pads), graph.reshape(filled, ()).name)


def _tile(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    aval = eqn.outvars[0].aval
    return graph.value("Tile", inputs, aval.shape, aval.dtype, graph.shape(tuple(eqn.params["reps"])))


def _split(graph: Graph, eqn: Any, inputs: list[Value]) -> list[Value]:
    sizes, axis = eqn.params["sizes"], eqn.params["axis"]
    names = graph.add("Split", [inputs[0].name, graph.integers(sizes)], len(sizes), axis=axis)
    names = [names] if len(sizes) == 1 else names
    return [Value(name, out.aval.shape, out.aval.dtype) for name, out in zip(names, eqn.outvars, strict=True)]


def _iota(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    shape, axis, dtype = eqn.params["shape"], eqn.params["dimension"], eqn.params["dtype"]
    dims = tuple(dim if i == axis else 1 for i, dim in enumerate(shape))
    if isinstance(shape[axis], int):
        return graph.constant(np.arange(shape[axis], dtype=dtype).reshape(dims))
    ends = [
        graph.constant(np.int64(0)).name,
        graph.add("Squeeze", [graph.size(shape[axis])]),
        graph.constant(np.int64(1)).name,
    ]
    counted = Value(graph.add("Range", ends), (shape[axis],), np.dtype(np.int64))
    return graph.reshape(graph.cast(counted, dtype), dims)


def _dim_as_value(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    number = Value(graph.size(eqn.params["dim"]), (1,), np.dtype(np.int64))
    return graph.cast(graph.reshape(number, ()), eqn.outvars[0].aval.dtype)


def _reduce(kind: str) -> Rule:
    def rule(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        aval, (x,) = eqn.outvars[0].aval, inputs
        logical = aval.dtype == bool
        x = graph.cast(x, np.int32) if logical else x
        found = graph.value(kind, [x], aval.shape, x.dtype, graph.integers(eqn.params["axes"]), keepdims=0)
        return graph.cast(found, bool) if logical else found

    return rule


def _arg(kind: str) -> Rule:
    def rule(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        (axis,), aval = eqn.params["axes"], eqn.outvars[0].aval
        found = graph.value(kind, inputs, aval.shape, np.int64, axis=axis, keepdims=0)
        return graph.cast(found, aval.dtype)

    return rule


def _cumsum(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    axis = graph.constant(np.int64(eqn.params["axis"])).name
    (x,) = inputs
    return graph.value("CumSum", [x], x.dims, x.dtype, axis, reverse=int(eqn.params["reverse"]))


def _dot_general(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    (contracted, batched), (a, b), aval = eqn.params["dimension_numbers"], inputs, eqn.outvars[0].aval
    free = [
        [i for i in range(len(x.dims)) if i not in (*con, *bat)]
        for x, con, bat in zip((a, b), contracted, batched, strict=True)
    ]
    if a.dtype.kind != "f":
        raise InputError(f"ONNX: products of matrices of {a.dtype} are not written yet")
    if len(contracted[0]) == 1 and len(free[1]) == 1 and (len(free[0]) == 1 or not batched[0]):
        a = graph.transpose(a, [*batched[0], *free[0], *contracted[0]])
        b = graph.transpose(b, [*batched[1], *contracted[1], *free[1]])
        return graph.value("MatMul", [a, b], aval.shape, aval.dtype)
    letters = iter(string.ascii_lowercase)
    names: list[dict[int, str]] = [{}, {}]
    for pairs in (batched, contracted):
        for i, j in zip(*pairs, strict=True):
            names[0][i] = names[1][j] = next(letters)
    for side in (0, 1):
        names[side] |= {i: next(letters) for i in free[side]}
    words = ["".join(names[side][i] for i in range(len(x.dims))) for side, x in enumerate(inputs)]
    out = [names[0][i] for i in (*batched[0], *free[0])] + [names[1][j] for j in free[1]]
    return graph.value("Einsum", [a, b], aval.shape, aval.dtype, equation=f"{','.join(words)}->{''.join(out)}")


def _inverse(order: Sequence[int]) -> list[int]:
    return [int(i) for i in np.argsort(order)]


def _conv(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    params, aval = eqn.params, eqn.outvars[0].aval
    spec, padding = params["dimension_numbers"], params["padding"]
    if any(n != 1 for n in (*params["lhs_dilation"], params["batch_group_count"])) or min(map(min, padding)) < 0:
        raise InputError("ONNX: this kind of convolution, such as a transposed one, is not written yet")
    x, kernel = graph.transpose(inputs[0], spec.lhs_spec), graph.transpose(inputs[1], spec.rhs_spec)
    y = graph.value(
        "Conv",
        [x, kernel],
        [aval.shape[i] for i in spec.out_spec],
        aval.dtype,
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[low for low, _ in padding] + [high for _, high in padding],
        group=params["feature_group_count"],
        kernel_shape=[inputs[1].dims[i] for i in spec.rhs_spec[2:]],
    )
    return graph.transpose(y, _inverse(spec.out_spec))


def _pool(kind: str, **attributes: Any) -> Rule:
    """Windows over the axes between the first and the last."""

    def rule(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        params, aval, (x,) = eqn.params, eqn.outvars[0].aval, inputs
        window, strides, padding = params["window_dimensions"], params["window_strides"], params["padding"]
        dilated = any(n != 1 for n in (*params["base_dilation"], *params["window_dilation"]))
        if (
            dilated
            or len(window) < 3
            or not all((window[i], strides[i], padding[i]) == (1, 1, (0, 0)) for i in (0, -1))
        ):
            raise InputError("ONNX: windows over these axes are not written yet")
        first = [0, len(window) - 1, *range(1, len(window) - 1)]
        pads = [low for low, _ in padding[1:-1]] + [high for _, high in padding[1:-1]]
        sizes = {"kernel_shape": list(window[1:-1]), "strides": list(strides[1:-1]), "pads": pads}
        x = graph.transpose(x, first)
        y = graph.value(kind, [x], [aval.shape[i] for i in first], aval.dtype, **sizes, **attributes)
        if kind == "AveragePool":
            y = graph.value("Mul", [y, graph.constant(np.asarray(np.prod(window), aval.dtype))], y.dims, y.dtype)
        return graph.transpose(y, _inverse(first))

    return rule


RULES: dict[str, Rule | Callable[..., list[Value]]] = {
    "broadcast_in_dim": _broadcast_in_dim,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "rev": _rev,
    "pad": _pad,
    "split": _split,
    "tile": _tile,
    "iota": _iota,
    "dim_as_value": _dim_as_value,
    **{f"reduce_{name}": _reduce(f"Reduce{name.title()}") for name in ("sum", "max", "min", "prod")},
    "reduce_and": _reduce("ReduceMin"),
    "reduce_or": _reduce("ReduceMax"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "dot_general": _dot_general,
    "conv_general_dilated": _conv,
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool", count_include_pad=1),
}
