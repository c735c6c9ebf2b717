"""The two factors of a low-rank change of a kernel: their product, and the path through them beside a layer.

`a` is [*inputs, rank] and `b` is [rank, *outputs]. Of a convolution with g groups, `a` has the input channels of one
group. Either all groups share it, with `b` [rank, outputs]; or each has its columns, with `b` [rank / g, outputs], and
the columns of both belong to the groups in order. What Hugging Face's PEFT makes of such a convolution has an `a` over
all input channels instead, and no kernel of the layer does the same.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.layers.cpu import dispatch
from jtransfer.peft import layer
from jtransfer.peft.method import FIXED


def pair(own: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """Returns the factors of an adapter's change, whatever it holds them as: change = scale · product.

    An adapter that began with factors of the kernel changes it by scale · (a·b − a₀·b₀), of which the factors are
    [a − a₀, a₀] and [b, b − b₀]: twice the rank, and zero where it began.

    Args:
      own: the arrays of an adapter of LoRA's kin.
    """
    fixed, b = own[FIXED], own["b"]
    a = own["a"] if "a" in own else fixed["a"]
    if "e" in own:
        a = a * own["e"]
    if "a_start" in fixed:
        a = jnp.concatenate([a - fixed["a_start"], fixed["a_start"]], -1)
        b = jnp.concatenate([b, b - fixed["b_start"]])
    return a, b


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the kernel that both factors make."""
    groups = a.shape[-1] // len(b)
    if groups == 1:
        return jnp.tensordot(a, b, 1)
    return _by_group(a, b, groups)


def change(own: Mapping[str, Any], shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns what an adapter of LoRA's kin adds to the kernel, whose shape its factors tell."""
    del shape
    return own[FIXED]["scale"] * product(*pair(own))


def beside(module: Any, own: Mapping[str, Any], x: Any, *args: Any, **kwargs: Any) -> jax.Array:
    """Returns what an adapter of LoRA's kin adds to the output of a layer for an input.

    Only where the layer takes no factor for its kernel is the product of both made: where it has a mask, or groups of
    which all share `a`.
    """
    a, b = pair(own)
    b = b * own[FIXED]["scale"]
    if layer.masked(module) or (layer.groups(module) > 1 and len(b) == a.shape[-1]):
        return layer.run(module, product(a, b), x, *args, **kwargs)
    low = layer.run(module, a, x, *args, **kwargs)
    b = b.astype(low.dtype)
    return _rows_product(low, b) if dispatch.on_cpu() and len(b) == low.shape[-1] else product(low, b)


@jax.custom_vjp
def _rows_product(low: jax.Array, b: jax.Array) -> jax.Array:
    """The product of activations [..., rank] and `b`, for CPUs.

    For the gradient of `b`, XLA would copy that of the output, transposed, and compute what it is made of, such as
    GELU's gradient, in the order of the copy. After MiniLM's first dense layer that takes longer than the layer.
    """
    return product(low, b)


def _forward(low: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(low, b), (low, b)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    low, b = kept
    rows, outputs, kernel = low.reshape(-1, len(b)), gradient.reshape(-1, b[0].size), b.reshape(len(b), -1)
    return (outputs @ kernel.T).reshape(low.shape), (rows.T @ outputs).reshape(b.shape)


_rows_product.defvjp(_forward, _backward)


def _by_group(a: jax.Array, b: jax.Array, groups: int) -> jax.Array:
    of_group = a.reshape(*a.shape[:-1], groups, len(b))
    columns = b.reshape(len(b), groups, -1)
    return jnp.einsum("...gr,rgo->...go", of_group, columns).reshape(*a.shape[:-1], *b.shape[1:])


def over_all_channels(a: jax.Array, b: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Returns the factors of a convolution with groups in the form of Hugging Face's PEFT, for the same change.

    Args:
      a: [*window, inputs / groups, rank], shared by all groups or with columns of each.
      b: [rank, outputs], or [rank / groups, outputs].
      groups: of the convolution.

    Returns:
      `a` [*window, inputs, groups · n] and `b` [n, outputs], where n is the length of the `b` that was given.
    """
    columns = a.reshape(*a.shape[:-1], -1, len(b))
    columns = jnp.broadcast_to(columns, (*a.shape[:-1], groups, len(b)))
    blocks = jnp.einsum("...cgr,gh->...hcgr", columns, jnp.eye(groups, dtype=a.dtype))
    return blocks.reshape(*a.shape[:-2], groups * a.shape[-2], groups * len(b)), b
