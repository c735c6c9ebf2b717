"""JAX's elementwise primitives in nodes of ONNX. They take values whose axes of length 1 are not repeated."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.exporting.onnx_graph import Graph, Value, broadcast

Rule = Callable[[Graph, Any, list[Value]], Value]
"""A function of a graph, an equation of JAX and the values of its inputs to that of its output."""


def _elementwise(kind: str, **attributes: Any) -> Rule:
    def rule(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        dims = broadcast([x.dims for x in inputs])
        return graph.value(kind, inputs, dims, eqn.outvars[0].aval.dtype, **attributes)

    return rule


def _then(*rules: Rule) -> Rule:
    """One rule after the other, of one input each but for the first."""

    def rule(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        for one in rules:
            inputs = [one(graph, eqn, inputs)]
        return inputs[0]

    return rule


def _with(number: float, rule: Rule, *, first: bool = False) -> Rule:
    """A rule that is given a number beside its input."""

    def changed(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
        constant = graph.constant(np.asarray(number, eqn.outvars[0].aval.dtype))
        return rule(graph, eqn, [constant, *inputs] if first else [*inputs, constant])

    return changed


def _integer_pow(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return _with(eqn.params["y"], _elementwise("Pow"))(graph, eqn, inputs)


def _square(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return _elementwise("Mul")(graph, eqn, [*inputs, *inputs])


def _select(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    which, *cases = inputs
    if which.dtype != bool or len(cases) != 2:
        raise InputError("ONNX: a choice among more than two arrays is not written yet")
    if cases[0].dtype != bool:
        return _elementwise("Where")(graph, eqn, [which, cases[1], cases[0]])
    both, either, no = map(_elementwise, ("And", "Or", "Not"))
    parts = (both(graph, eqn, [which, cases[1]]), both(graph, eqn, [no(graph, eqn, [which]), cases[0]]))
    return either(graph, eqn, list(parts))


def _clamp(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    low, x, high = inputs
    return _elementwise("Min")(graph, eqn, [_elementwise("Max")(graph, eqn, [x, low]), high])


def _is_finite(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    bad = [_elementwise(kind)(graph, eqn, inputs) for kind in ("IsInf", "IsNaN")]
    return _then(_elementwise("Or"), _elementwise("Not"))(graph, eqn, bad)


def _convert(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return graph.cast(inputs[0], eqn.params["new_dtype"])


def _same(graph: Graph, eqn: Any, inputs: list[Value]) -> Value:
    return inputs[0]


def _unary(table: dict[str, str]) -> dict[str, Rule]:
    return {name: _elementwise(kind) for name, kind in table.items()}


_sqrt, _exp, _log, _equal = map(_elementwise, ("Sqrt", "Exp", "Log", "Equal"))
ELEMENTWISE: dict[str, Rule] = {
    **_unary({"neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "erf": "Erf", "logistic": "Sigmoid"}),
    **_unary({"sqrt": "Sqrt", "abs": "Abs", "floor": "Floor", "ceil": "Ceil", "sign": "Sign", "not": "Not"}),
    **_unary({"sin": "Sin", "cos": "Cos", "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}),
    **_unary({"max": "Max", "min": "Min", "pow": "Pow", "eq": "Equal", "lt": "Less", "gt": "Greater"}),
    **_unary({"le": "LessOrEqual", "ge": "GreaterOrEqual", "and": "And", "or": "Or", "xor": "Xor"}),
    "rem": _elementwise("Mod", fmod=1),
    "ne": _then(_equal, _elementwise("Not")),
    "rsqrt": _then(_sqrt, _elementwise("Reciprocal")),
    "log1p": _then(_with(1, _elementwise("Add")), _log),
    "expm1": _then(_exp, _with(1, _elementwise("Sub"))),
    "exp2": _with(2, _elementwise("Pow"), first=True),
    "erfc": _then(_elementwise("Erf"), _with(1, _elementwise("Sub"), first=True)),
    "square": _square,
    "integer_pow": _integer_pow,
    "select_n": _select,
    "clamp": _clamp,
    "is_finite": _is_finite,
    "convert_element_type": _convert,
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "sharding_constraint"), _same),
}
