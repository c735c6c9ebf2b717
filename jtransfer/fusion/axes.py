"""Axes of arrays that have the same units in the same order, followed through a traced computation."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Axes = list["Axis"]


class Axis:
    """One axis of an array, and after `join` all axes that have its units.

    Attributes:
      size: The number of entries.
      fixed: Whether their order is fixed.
      inner: The axis whose units repeat along this one, of which they are the fastest part; or None.
    """

    def __init__(self, size: int, *, fixed: bool = False, inner: "Axis | None" = None):
        self.size, self.fixed, self.inner = size, fixed, inner
        self._parent: Axis = self

    def root(self) -> "Axis":
        """The axis that stands for all that were joined."""
        axis = self
        while axis._parent is not axis:
            axis._parent = axis._parent._parent
            axis = axis._parent
        return axis


def join(one: Axis, other: Axis) -> None:
    """Says that two axes have the same units."""
    first, second = one.root(), other.root()
    if first is second:
        return
    if first.size != second.size:
        return fix(first, second)
    second._parent = first
    first.fixed |= second.fixed
    ours, theirs = first.inner, second.inner
    first.inner = ours or theirs
    if ours is not None and theirs is not None:
        join(ours, theirs)


def fix(*axes: Axis) -> None:
    """Says that the order of units is fixed."""
    for axis in axes:
        axis.root().fixed = True


def units(axis: Axis) -> tuple[Axis, int]:
    """Returns the axis of the units along an axis, and how often they repeat."""
    root, repeats = axis.root(), 1
    while root.inner is not None:
        inner = root.inner.root()
        repeats, root = repeats * (root.size // inner.size), inner
    return root, repeats


def is_fixed(axis: Axis) -> bool:
    """Returns whether the order of the units along an axis is fixed, on all axes that have them."""
    root = axis.root()
    return root.fixed or (root.inner is not None and is_fixed(root.inner))


def run(jaxpr: Any, consts: Sequence[Any], given: Sequence[Axes]) -> list[Axes]:
    """Follows axes through a computation, and returns those of its results.

    Args:
      jaxpr: The computation.
      consts: Its constants.
      given: The axes of its arguments.
    """
    known: dict[Any, Axes] = dict(zip(jaxpr.invars, given, strict=True))
    known |= {var: _constant(value) for var, value in zip(jaxpr.constvars, consts, strict=True)}

    def of(var: Any) -> Axes:
        return known[var] if not hasattr(var, "val") else _constant(var.val)

    for equation in jaxpr.eqns:
        inputs = [of(var) for var in equation.invars]
        shapes = [tuple(var.aval.shape) for var in equation.outvars]
        made = _RULES.get(equation.primitive.name, _unknown)(equation.params, inputs, shapes)
        known |= dict(zip(equation.outvars, made, strict=True))
    _spread(axis for each in known.values() for axis in each)
    return [of(var) for var in jaxpr.outvars]


def _spread(axes: Iterator[Axis]) -> None:
    """Fixes the units of axes that are fixed themselves."""
    for axis in axes:
        root = axis.root()
        if root.fixed and root.inner is not None:
            fix(units(root)[0])


def _new(shape: Sequence[int], *, fixed: bool = False) -> Axes:
    return [Axis(size, fixed=fixed) for size in shape]


def _constant(value: Any) -> Axes:
    """The axes of a constant, fixed where what is along one is not all the same."""
    array = np.asarray(value)
    first = [array.take([0], number) if size else array for number, size in enumerate(array.shape)]
    return [Axis(size, fixed=bool((array != one).any())) for size, one in zip(array.shape, first, strict=True)]


def _unknown(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    for each in inputs:
        fix(*each)
    return [_new(shape, fixed=True) for shape in shapes]


def _elementwise(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    """Axes of one entry are repeated along those of others."""
    made = []
    for number, size in enumerate(shapes[0]):
        first, *others = [each[number] for each in inputs if each and each[number].size == size]
        for other in others:
            join(first, other)
        made.append(first)
    return [list(made) for _ in shapes]


def _broadcast(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    made = _new(shapes[0])
    for axis, place in zip(inputs[0], params["broadcast_dimensions"], strict=True):
        if axis.size == made[place].size:
            made[place] = axis
    return [made]


def _reduce(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    kept = [axis for number, axis in enumerate(inputs[0]) if number not in params["axes"]]
    return [kept for _ in shapes]


def _dot(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    one, other = inputs
    for a, b in (*zip(left, right, strict=True), *zip(left_batch, right_batch, strict=True)):
        join(one[a], other[b])
    rest = [axis for number, axis in enumerate(one) if number not in (*left, *left_batch)]
    rest += [axis for number, axis in enumerate(other) if number not in (*right, *right_batch)]
    return [[one[number] for number in left_batch] + rest]


def _conv(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    x, kernel, out = params["dimension_numbers"]
    image, weights = inputs
    made = _new(shapes[0], fixed=True)
    made[out[0]] = image[x[0]]
    fix(*(image[place] for place in x[2:]), *(weights[place] for place in kernel[2:]))
    groups, features = params["feature_group_count"], image[x[1]]
    if params["batch_group_count"] != 1 or not (groups == 1 or groups == features.size == weights[kernel[0]].size):
        fix(features, weights[kernel[0]], weights[kernel[1]])
        return [made]
    join(features, weights[kernel[1 if groups == 1 else 0]])
    made[out[1]] = weights[kernel[0]]
    return [made]


def _transpose(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    return [[inputs[0][place] for place in params["permutation"]]]


def _reshape(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    """Axes of one entry come and go; of several that become one, the last has the units; what is cut into several is
    put together again, or is fixed."""
    made = _new(shapes[0])
    olds = [axis for axis in inputs[0] if axis.size != 1]
    news = [number for number, size in enumerate(shapes[0]) if size != 1]
    while olds and news:
        some, places = [olds.pop(0)], [news.pop(0)]
        while (before := math.prod(a.size for a in some)) != (after := math.prod(shapes[0][n] for n in places)):
            if before < after:
                some.append(olds.pop(0))
            else:
                places.append(news.pop(0))
        for place, axis in zip(places, _regrouped(some, [shapes[0][n] for n in places]), strict=True):
            made[place] = axis
    fix(*olds)
    return [made]


def _regrouped(some: Axes, sizes: list[int]) -> Axes:
    if len(some) == len(sizes) == 1:
        return some
    if len(sizes) == 1:
        fix(*some[:-1])
        return [Axis(sizes[0], inner=some[-1])]
    inner = some[0].root().inner if len(some) == 1 else None
    if inner is not None and inner.root().size == sizes[-1]:
        return [*_new(sizes[:-1], fixed=True), inner]
    fix(*some)
    return _new(sizes, fixed=True)


def _by_axis(is_whole: Callable[[Any, int, Axis, int], bool]) -> Callable[..., list[Axes]]:
    """The rule of an operation that leaves some axes as they are, and fixes the order of all others."""

    def rule(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
        made = _new(shapes[0], fixed=True)
        for number, axis in enumerate(inputs[0]):
            if is_whole(params, number, axis, shapes[0][number]):
                made[number] = axis
            else:
                fix(axis)
        return [made]

    return rule


def _same_size(params: Any, number: int, axis: Axis, size: int) -> bool:
    return axis.size == size


def _is_window_of_one(params: Any, number: int, axis: Axis, size: int) -> bool:
    padding = params.get("padding", ())
    return params["window_dimensions"][number] == 1 and axis.size == size and not (padding and any(padding[number]))


def _is_not_padded(params: Any, number: int, axis: Axis, size: int) -> bool:
    return not any(params["padding_config"][number])


def _is_not_strided(params: Any, number: int, axis: Axis, size: int) -> bool:
    return axis.size == size and not (params["strides"] and params["strides"][number] != 1)


def _concatenate(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    made = list(inputs[0])
    for each in inputs:
        for number, axis in enumerate(each):
            fix(axis) if number == params["dimension"] else join(made[number], axis)
    made[params["dimension"]] = Axis(shapes[0][params["dimension"]], fixed=True)
    return [made]


def _squeeze(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    return [[axis for number, axis in enumerate(inputs[0]) if number not in params["dimensions"]]]


def _call(params: Any, inputs: list[Axes], shapes: list[tuple]) -> list[Axes]:
    inner = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
    return run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)


_ELEMENTWISE = (
    "abs add add_any and clamp convert_element_type copy copy_p cos div eq erf erfc exp exp2 expm1 ge gt integer_pow "
    "is_finite le log log1p logistic lt max min mul ne neg not or pow reduce_precision rem round rsqrt select_n "
    "sharding_constraint sign sin sqrt square stop_gradient sub tanh"
)
_RULES: dict[str, Callable[..., list[Axes]]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"), _reduce),
    **dict.fromkeys(("pjit", "jit", "closed_call", "core_call", "remat", "checkpoint", "remat2"), _call),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"), _call),
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max", "reduce_window_min"), _by_axis(_is_window_of_one)),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "pad": _by_axis(_is_not_padded),
    "reshape": _reshape,
    "slice": _by_axis(_is_not_strided),
    "squeeze": _squeeze,
    "transpose": _transpose,
}
