"""Arrays of adapters in the form that Hugging Face's PEFT stores: checked where they are read, or turned into it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.peft import matrix
from jtransfer.peft.method import Site

Tensors = Mapping[str, Any]


def take(tensors: Tensors, name: str, *shape: int | None) -> np.ndarray:
    """Returns a tensor, float32.

    Args:
      tensors: by name.
      name: which one.
      *shape: that it must have; None where any size will do.

    Raises:
      InputError: there is none, or it has another shape.
    """
    if name not in tensors:
        raise InputError(f"{name} is missing")
    found = np.asarray(tensors[name], np.float32)
    fits = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{name} has the shape {list(found.shape)}; expected [{expected}]")
    return found


def rows(array: Any, site: Site) -> np.ndarray:
    """Returns [*inputs, n] as [input features, n], in PyTorch's order."""
    return np.asarray(matrix.of(array, matrix.marks(site)), np.float32)


def unrows(array: Any, site: Site) -> np.ndarray:
    """The inverse of `rows`."""
    return np.asarray(matrix.back(array, matrix.marks(site), (*site.inputs, array.shape[1])), np.float32)


def sizes(site: Site) -> tuple[int, int]:
    """Returns the numbers of input features, all of a convolution's window, and of output features of a layer."""
    return math.prod(site.inputs), math.prod(site.outputs)


def check(site: Site, method: str, *kinds: str) -> None:
    """Raises an `InputError` if PEFT has no such method for a layer.

    Args:
      site: the layer.
      method: PEFT's name.
      *kinds: for which PEFT has it: "dense", "embed", or "conv" with the number of axes of the window.
    """
    kind = f"conv{site.contracted - 1}" if site.kind == "conv" else site.kind
    if kind not in kinds or site.name == "ConvTranspose":
        raise InputError(f"{site.path}: Hugging Face's PEFT has no {method} for a layer of the class {site.name}")


def scale(settings: Mapping[str, Any], alpha: str = "alpha") -> np.ndarray:
    """Returns alpha / r, float32 []."""
    return np.asarray(settings[alpha] / settings["r"], np.float32)


def dropout(rate: float) -> dict[str, np.ndarray]:
    """Returns what an adapter keeps of a rate of dropout."""
    return {"dropout": np.asarray(rate, np.float32)} if rate else {}


def core_times(tensors: Tensors, core: str, factor: str, site: Site, rank: int, channels: int) -> np.ndarray:
    """Returns the input's factor [*window, channels, rank] of a convolution that is stored as a core and two factors.

    The core t [rank, rank, *window] and the channels' factor w [rank, channels] are one factor of the same rank.
    """
    window = site.inputs[:-1]
    padded = window + (1,) * (2 - len(window))
    t = take(tensors, core, rank, rank, *padded).reshape(rank, rank, *window)
    return np.einsum("ij...,jc->...ci", t, take(tensors, factor, rank, channels))
