"""Converts parameters to the dtype of the computation once, and not at each token."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def narrowed(f: Callable[..., Any], variables: Any, *args: Any) -> Any:
    """Returns variables in which each array that a function does nothing with but convert it is converted already.

    The function computes the same of them, for what it is given is what it would have made itself. Arrays that are also
    read as they are, such as scales of norms that are computed in float32, stay as they are.

    Args:
      f: A function of the variables and further arguments; it is traced.
      variables: A pytree of arrays, traced or not.
      *args: The further arguments, or their shapes.
    """
    leaves, form = jax.tree.flatten(variables)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (variables, args))
    program = jax.make_jaxpr(f)(shapes[0], *shapes[1]).jaxpr
    found = [_converted(program, var) for var in program.invars[: len(leaves)]]
    narrow = [_narrower(x.dtype, dtypes) for x, dtypes in zip(leaves, found, strict=True)]
    return form.unflatten([x if to is None else x.astype(to) for x, to in zip(leaves, narrow, strict=True)])


def _narrower(dtype: Any, found: set[Any]) -> Any:
    """The one dtype among what a value is used as, if it takes less room; or None."""
    if len(found) != 1:
        return None
    [to] = found
    return to if to is not None and to.itemsize < dtype.itemsize else None


def _converted(program: core.Jaxpr, var: Any) -> set[Any]:
    """The dtypes that a value is converted to where it is used, and None for each other use."""
    found: set[Any] = {None} if any(var is out for out in program.outvars) else set()
    for equation in program.eqns:
        places = [i for i, x in enumerate(equation.invars) if x is var]
        if not places:
            continue
        if equation.primitive.name == "convert_element_type":
            found.add(jnp.dtype(equation.params["new_dtype"]))
            continue
        inner = next(_called(equation), None)
        for place in places:
            found |= {None} if inner is None else _converted(inner, inner.invars[place])
    return found


def _called(equation: Any) -> Iterator[core.Jaxpr]:
    """The program that an equation runs once with its own arguments, if it is one that does."""
    if equation.primitive.name in ("while", "scan", "cond"):
        return
    for value in equation.params.values():
        inner = getattr(value, "jaxpr", value)
        if isinstance(inner, core.Jaxpr) and len(inner.invars) == len(equation.invars):
            yield inner
