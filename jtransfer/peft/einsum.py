"""Equations of `nn.Einsum` that are a product of a matrix: which axes of the kernel are summed over, which are new."""

import string
from typing import NamedTuple

from jtransfer.core.errors import InputError


class Product(NamedTuple):
    """An equation `x,kernel->y` in which the kernel is a matrix from its first axes to its last ones.

    Attributes:
      x: the letters of the input, and "..." for axes without one.
      contracted: the letters of the kernel's first axes, which are summed over.
      outputs: those of its other axes, which are the last ones of the output, in the same order.
      rest: those of the output's other axes.
    """

    x: str
    contracted: str
    outputs: str
    rest: str

    def equation(self, outputs: int) -> str:
        """The equation of a kernel with as many axes of the output."""
        free = [letter for letter in string.ascii_letters if letter not in self.x + self.contracted + self.rest]
        new = "".join(free[:outputs])
        return f"{self.x},{self.contracted}{new}->{self.rest}{new}"

    @property
    def rows(self) -> str:
        """The equation that moves the axes of the input that are summed over behind the others."""
        others = "".join(letter for letter in self.x.replace("...", "") if letter not in self.contracted)
        dots = "..." if "..." in self.x else ""
        return f"{self.x}->{dots}{others}{self.contracted}"


def parse(equation: str) -> Product:
    """Returns an equation as a product.

    Args:
      equation: such as "btd,dnh->btnh".

    Raises:
      InputError: the kernel is no matrix in it.
    """
    operands, arrow, y = equation.replace(" ", "").partition("->")
    x, comma, kernel = operands.partition(",")
    contracted = "".join(letter for letter in kernel if letter not in y)
    outputs = kernel.removeprefix(contracted)
    plain = all(len(set(part)) == len(part) for part in (x.replace("...", ""), kernel, y.replace("...", "")))
    if not (arrow and comma and plain and kernel.isalpha() and contracted and kernel.startswith(contracted)):
        raise InputError(f"its equation {equation!r} is not x,kernel->y with the kernel's first axes summed over")
    if not set(contracted) <= set(x) or set(outputs) & set(x) or not y.endswith(outputs):
        raise InputError(f"in its equation {equation!r} the kernel is no matrix from the input to the last axes of y")
    return Product(x, contracted, outputs, y.removesuffix(outputs))
