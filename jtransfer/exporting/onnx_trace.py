"""A function of JAX as a graph of ONNX: its equations one after the other, those inside of calls and loops too."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from jtransfer.core.errors import InputError
from jtransfer.exporting.onnx_elementwise import ELEMENTWISE
from jtransfer.exporting.onnx_gather import gather
from jtransfer.exporting.onnx_graph import Graph, Value, onnx
from jtransfer.exporting.onnx_ops import RULES

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_CALLS = frozenset(
    ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call")
)


def add(graph: Graph, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
    """Adds the equations of a jaxpr, and returns the values of its outputs, of their whole shapes.

    Args:
      graph: to which they are added.
      jaxpr: without constants.
      consts: its constants, arrays or values.
      inputs: the values of its arguments.

    Raises:
      InputError: a primitive has no rule.
    """
    held = [x if isinstance(x, Value) else graph.constant(_numpy(x)) for x in consts]
    values: dict[Any, Value] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*held, *inputs), strict=True))

    def read(var: Any, *, whole: bool) -> Value:
        aval: Any = var.aval
        x = graph.constant(np.asarray(var.val, aval.dtype)) if isinstance(var, Literal) else values[var]
        return graph.expand(x, aval.shape) if whole else x

    for eqn in jaxpr.eqns:
        loose = eqn.primitive.name in (*ELEMENTWISE, "broadcast_in_dim")
        found = _equation(graph, eqn, [read(var, whole=not loose) for var in eqn.invars])
        values |= dict(zip(eqn.outvars, found, strict=True))
    return [read(var, whole=True) for var in jaxpr.outvars]


def _numpy(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _equation(graph: Graph, eqn: Any, inputs: list[Value]) -> list[Value]:
    name = eqn.primitive.name
    if name in _CALLS:
        inner = next(eqn.params[key] for key in _INNER if key in eqn.params)
        return add(graph, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
    if name == "optimization_barrier":
        return inputs
    if name == "scan":
        return _scan(graph, eqn, inputs)
    if _is_known(eqn, inputs):
        return _evaluated(graph, eqn, inputs)
    if name == "gather":
        return [gather(graph, eqn, inputs)]
    rule = ELEMENTWISE.get(name) or RULES.get(name)
    if rule is None:
        raise InputError(f"ONNX: the model computes {name!r}, which is not written yet; export it to stablehlo")
    found = rule(graph, eqn, inputs)
    return found if isinstance(found, list) else [found]


_SMALL = 1 << 16  # elements of what is computed now


def _is_known(eqn: Any, inputs: list[Value]) -> bool:
    """Whether an equation is one of known small arrays, whose shapes are those of JAX."""
    avals = [var.aval for var in (*eqn.invars, *eqn.outvars)]
    fixed = all(isinstance(dim, int) for aval in avals for dim in aval.shape)
    small = fixed and all(np.prod(aval.shape, dtype=np.int64) <= _SMALL for aval in avals)
    named = all(x.array is not None and x.dims == var.aval.shape for x, var in zip(inputs, eqn.invars, strict=True))
    return bool(inputs) and small and named


def _evaluated(graph: Graph, eqn: Any, inputs: list[Value]) -> list[Value]:
    given = (jnp.asarray(x.array, var.aval.dtype) for x, var in zip(inputs, eqn.invars, strict=True))
    found = eqn.primitive.bind(*given, **eqn.params)
    return [graph.constant(_numpy(x)) for x in (found if eqn.primitive.multiple_results else [found])]


def _scan(graph: Graph, eqn: Any, inputs: list[Value]) -> list[Value]:
    """A loop: copies of its body if its turns are counted now, as layers are; else, as over texts, a loop of ONNX."""
    params = eqn.params
    fixed, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, carry, rows = inputs[:fixed], inputs[fixed:carried], inputs[carried:]
    if not isinstance(params["length"], int):
        return _loop(graph, eqn, consts, carry, rows)
    turns = range(params["length"])
    written = []
    for i in reversed(turns) if params["reverse"] else turns:
        row = [_row(graph, x, i) for x in rows]
        found = add(graph, params["jaxpr"].jaxpr, params["jaxpr"].consts, [*consts, *carry, *row])
        carry = found[: len(carry)]
        written.append(found[len(carry) :])
    columns = zip(*(reversed(written) if params["reverse"] else written), strict=True)
    return [*carry, *(_stacked(graph, column) for column in columns)]


def _row(graph: Graph, x: Value, i: int) -> Value:
    dims = x.dims[1:]
    starts, ends = [i] + [0] * len(dims), [i + 1, *dims]
    return graph.reshape(graph.slice(x, starts, ends, [1] * len(ends), (1, *dims)), dims)


def _stacked(graph: Graph, column: Sequence[Value]) -> Value:
    rows = [graph.reshape(x, (1, *x.dims)) for x in column]
    return graph.value("Concat", rows, (len(rows), *column[0].dims), column[0].dtype, axis=0)


def _loop(graph: Graph, eqn: Any, consts: list[Value], carry: list[Value], rows: list[Value]) -> list[Value]:
    params, body = eqn.params, graph.inner()
    given = [Value(body.new(), x.dims, x.dtype) for x in carry] + [Value(body.new(), x.dims[1:], x.dtype) for x in rows]
    found = add(body, params["jaxpr"].jaxpr, params["jaxpr"].consts, [*consts, *given])
    outs = [body.value("Identity", [x], x.dims, x.dtype) for x in found]
    inside = onnx().helper.make_graph(body.nodes, "body", list(map(described, given)), list(map(described, outs)))
    way = int(params["reverse"])
    names = graph.add(
        "Scan",
        [x.name for x in (*carry, *rows)],
        len(outs),
        body=inside,
        num_scan_inputs=len(rows),
        scan_input_directions=[way] * len(rows),
        scan_output_directions=[way] * (len(outs) - len(carry)),
    )
    names = [names] if len(outs) == 1 else names
    return [Value(name, var.aval.shape, x.dtype) for name, var, x in zip(names, eqn.outvars, outs, strict=True)]


def described(x: Value, name: str = "") -> Any:
    """Returns what ONNX says of a value that goes in or out: its type, and its shape with symbols."""
    dims = [dim if isinstance(dim, int) else str(dim) for dim in x.dims]
    return onnx().helper.make_tensor_value_info(name or x.name, onnx().helper.np_dtype_to_tensor_dtype(x.dtype), dims)


def symbols(inputs: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, tuple[str, int]]:
    """Returns where each symbol of the shapes of a graph's inputs stands: the input's name, and the axis."""
    return {
        str(dim): (name, axis)
        for name, x in inputs.items()
        for axis, dim in enumerate(x.shape)
        if not isinstance(dim, int)
    }
