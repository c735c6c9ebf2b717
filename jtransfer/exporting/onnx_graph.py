"""A graph of ONNX in the making: its nodes, its constants, and shapes that are known when it is run."""

import ast
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError

Dims = Sequence[Any]  # whole numbers, and JAX's expressions of symbols


def onnx() -> Any:
    """Returns the library, which is an extra."""
    return importlib.import_module("onnx")


class Value(NamedTuple):
    """A value of the graph.

    Attributes:
      name: in the graph.
      dims: its shape there. Where that of the array it stands for is larger, it is repeated along axes of length 1.
      dtype: of its elements.
      array: its elements where they are known now; else None.
    """

    name: str
    dims: Dims
    dtype: np.dtype
    array: np.ndarray | None = None


class Graph:
    """Nodes and constants, in the order in which they were added.

    Attributes:
      nodes: of `onnx`.
      constants: name → array, also those that no node uses.
      sizes: symbol of a shape → (name of an input of the graph, its axis).
    """

    def __init__(self, sizes: Mapping[str, tuple[str, int]], outer: "Graph | None" = None):
        self.nodes: list[Any] = []
        self.sizes = sizes
        self._outer = outer
        self.constants: dict[str, np.ndarray] = {} if outer is None else outer.constants
        self._count: list[int] = [0] if outer is None else outer._count
        self._known: dict[Any, str] = {}

    def inner(self) -> "Graph":
        """Returns a graph inside of this one, as of a loop, which may use its values."""
        return Graph(self.sizes, self)

    def new(self) -> str:
        """Returns a name that nothing has yet."""
        self._count[0] += 1
        return f"v{self._count[0]}"

    def add(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node, and returns the name of its output, or a list of several."""
        names = [self.new() for _ in range(outputs)]
        self.nodes.append(onnx().helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, name: str = "") -> Value:
        """Returns a value of known elements."""
        array = np.asarray(array)
        name = name or self.new()
        self.constants[name] = array
        return Value(name, array.shape, array.dtype, array)

    def integers(self, numbers: Sequence[int]) -> str:
        """Returns the name of a constant, int64 [n]."""
        return self._once(("integers", *numbers), lambda: self.constant(np.asarray(numbers, np.int64)).name)

    def shape(self, dims: Dims) -> str:
        """Returns the name of a shape, int64 [n]."""
        if all(isinstance(dim, int) for dim in dims):
            return self.integers(dims)
        return self.add("Concat", [self.size(dim) for dim in dims], axis=0)

    def size(self, dim: Any) -> str:
        """Returns the name of a whole number of a shape, int64 [1]."""
        if isinstance(dim, int):
            return self.integers([dim])
        return self._once(str(dim), lambda: self._computed(ast.parse(str(dim), mode="eval").body))

    def _once(self, key: Any, make: Callable[[], str]) -> str:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _computed(self, node: ast.AST) -> str:
        """What an expression of symbols comes to, as JAX writes it: sums, products, powers, floordiv, mod, max, min."""
        if isinstance(node, ast.Constant):
            return self.integers([int(node.value)])  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self._once(node.id, lambda: self._symbol(node.id))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.add("Neg", [self._computed(node.operand)])
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return self.add(_ARITHMETIC[type(node.op)], [self._computed(node.left), self._computed(node.right)])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            return self.add(_FUNCTIONS[node.func.id], [self._computed(part) for part in node.args])
        raise InputError(f"ONNX: a shape of the model is {ast.unparse(node)!r}, which is not written yet")

    def _symbol(self, symbol: str) -> str:
        name, axis = self.sizes[symbol]
        return self.add("Shape", [name], start=axis, end=axis + 1)

    # values

    def value(self, kind: str, inputs: Sequence[Value], dims: Dims, dtype: Any, *more: str, **attributes: Any) -> Value:
        """Adds a node with one output.

        Args:
          kind: of the node.
          inputs: its first inputs.
          dims, dtype: of its output.
          *more: the names of its further inputs.
          **attributes: of the node.
        """
        name = self.add(kind, [*(x.name for x in inputs), *more], **attributes)
        return Value(name, tuple(dims), np.dtype(dtype))

    def reshape(self, x: Value, dims: Dims) -> Value:
        """Returns a value with other dimensions, in the same order."""
        if tuple(x.dims) == tuple(dims):
            return x
        if x.array is not None and all(isinstance(dim, int) for dim in dims):
            return self.constant(x.array.reshape(dims))
        unknown = [i for i, dim in enumerate(dims) if not isinstance(dim, int)]
        if len(unknown) == 1 and 0 not in dims:
            shape = self.integers([-1 if i in unknown else dim for i, dim in enumerate(dims)])
        else:
            shape = self.shape(dims)
        return self.value("Reshape", [x], dims, x.dtype, shape)

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Returns a value with its axes in another order."""
        if list(axes) == list(range(len(x.dims))):
            return x
        if x.array is not None:
            return self.constant(np.ascontiguousarray(x.array.transpose(axes)))
        return self.value("Transpose", [x], [x.dims[axis] for axis in axes], x.dtype, perm=list(axes))

    def expand(self, x: Value, dims: Dims) -> Value:
        """Returns a value that is repeated along its axes of length 1."""
        if tuple(x.dims) == tuple(dims):
            return x
        if x.array is not None and all(isinstance(dim, int) for dim in dims):
            return self.constant(np.broadcast_to(x.array, dims))
        return self.value("Expand", [x], dims, x.dtype, self.shape(dims))

    def cast(self, x: Value, dtype: Any) -> Value:
        """Returns a value with another type of elements."""
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        if x.array is not None:
            return self.constant(x.array.astype(dtype))
        return self.value("Cast", [x], x.dims, dtype, to=onnx().helper.np_dtype_to_tensor_dtype(dtype))

    def slice(self, x: Value, starts: Sequence[Any], ends: Sequence[Any], steps: Sequence[int], dims: Dims) -> Value:
        """Returns a part of a value, as NumPy's slices along all axes; an end of None is before the first element."""
        if x.array is not None and all(isinstance(n, int | None) for n in (*starts, *ends)):
            return self.constant(x.array[tuple(map(slice, starts, ends, steps))])
        axes = [
            i
            for i, dim in enumerate(x.dims)
            if not (isinstance(starts[i], int) and starts[i] == 0 and steps[i] == 1 and _same(ends[i], dim))
        ]
        if not axes:
            return x
        first, last = (
            self.shape([side[i] if side[i] is not None else -(2**62) for i in axes]) for side in (starts, ends)
        )
        more = (first, last, self.integers(axes), self.integers([steps[i] for i in axes]))
        return self.value("Slice", [x], dims, x.dtype, *more)


def _same(a: Any, b: Any) -> bool:
    return str(a) == str(b)


_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow"}
_FUNCTIONS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}


def broadcast(shapes: Sequence[Dims]) -> Dims:
    """Returns the shape of what elementwise operations make of values of one rank, or of numbers."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(dims)) + tuple(dims) for dims in shapes]
    return tuple(next((dim for dim in column if not _same(dim, 1)), 1) for column in zip(*padded, strict=True))
