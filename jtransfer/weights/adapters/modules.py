"""The modules of another library's model that an adapter names, and the layers here whose kernels are theirs.

Which of the library's axes are those of the output, and where each input and output of a layer here lies among those
of the library's module, is read off the map: its transform is given tensors of places in the place of weights. So one
reader serves transposed kernels, convolutions, embeddings, and one module that is several layers here.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jtransfer.peft import Site
from jtransfer.weights.mapping import Assignment, Map, Scheme, Transform, as_tuple, finder

WEIGHT = ".weight"


class Part(NamedTuple):
    """A layer here whose kernel is, or is a part of, that of a library's module.

    Attributes:
      site: the layer.
      inputs: [*inputs], the place of each of its inputs among those of the module.
      outputs: [*outputs], the place of each of its outputs among those of the module.
    """

    site: Site
    inputs: np.ndarray
    outputs: np.ndarray


class Module(NamedTuple):
    """A module of a library's model.

    Attributes:
      name: such as "encoder.layer.0.attention.self.query".
      shape: of its weight.
      inputs: how many inputs its weight has, windows of convolutions included.
      outputs: how many outputs.
      parts: the layers here that it is.
      fan_in_fan_out: whether it is a dense layer whose weight is [inputs, outputs], as GPT-2's are.
    """

    name: str
    shape: tuple[int, ...]
    inputs: int
    outputs: int
    parts: tuple[Part, ...]
    fan_in_fan_out: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is one layer here, with inputs and outputs in the usual order."""
        return len(self.parts) == 1 and all(
            np.array_equal(places.ravel(), np.arange(count))
            for places, count in ((_usual(self.parts[0]), self.inputs), (self.parts[0].outputs, self.outputs))
        )


def _usual(part: Part) -> np.ndarray:
    """The places of the inputs in a library's order: channels before the window of a convolution."""
    return np.moveaxis(part.inputs, -1, 0) if part.site.kind == "conv" else part.inputs


class Named(NamedTuple):
    """A module of a library's model by name, before it is looked at.

    Attributes:
      name: of the module.
      assignment: of its weight.
      sites: the layers here whose kernels it fills.
    """

    name: str
    assignment: Assignment
    sites: tuple[Site, ...]

    @property
    def linear(self) -> bool:
        """Whether it is a linear layer, and neither a convolution nor an embedding."""
        return all(site.kind == "dense" for site in self.sites)


def named(scheme: Scheme, sites: Mapping[str, Site]) -> dict[str, Named]:
    """Returns the modules, by name, that a library has for the layers of a model.

    Args:
      scheme: the library's names.
      sites: of the model; see `peft.sites`.
    """
    kernels = {f"{path}/{site.leaf}": site for path, site in sites.items() if site.leaf}
    found = finder(scheme.rows, "params")
    modules: dict[str, Named] = {}
    for assignment in {a.source_names: a for path in kernels if (a := found(path))}.values():
        first, known = assignment.source_names[0], [kernels.get(path) for path in assignment.param_paths]
        whole = tuple(site for site in known if site is not None)
        if first.endswith(WEIGHT) and len(whole) == len(known):
            name = first.removesuffix(WEIGHT)
            modules.setdefault(name, Named(name, assignment, whole))
    return modules


def locate(module: Named) -> Module | None:
    """Returns a module with the places of its inputs and outputs; None where its weight is no matrix of the two."""
    sites = module.sites
    shape = _shape(module.assignment, sites)
    if shape is None:
        return None
    kernels = tuple((site.shape, site.contracted) for site in sites)
    copies = len(module.assignment.source_names)
    places = _places(module.assignment.transform, copies, shape, kernels)
    if places is None:
        return None
    inputs, outputs, parts, first = places
    made = tuple(Part(site, *both) for site, both in zip(sites, parts, strict=True))
    return Module(module.name, shape, inputs, outputs, made, first and module.linear)


def _shape(assignment: Assignment, sites: Iterable[Site]) -> tuple[int, ...] | None:
    """The shape of the weight in the library; None where a layer has none of its own."""
    empty = [np.broadcast_to(np.zeros((), bool), site.shape) for site in sites]
    try:
        saved = as_tuple(assignment.transform.save(*empty))
    except (ValueError, IndexError):
        return None
    return tuple(saved[0].shape)


@functools.lru_cache(256)
def _places(
    transform: Transform, copies: int, shape: tuple[int, ...], kernels: tuple[tuple[tuple[int, ...], int], ...]
) -> tuple[int, int, tuple[tuple[np.ndarray, np.ndarray], ...], bool] | None:
    """(number of inputs, of outputs, places of both for each layer, whether inputs come first); None where they depend
    on each other."""
    axes = [_along(transform, copies, shape, axis) for axis in range(len(shape))]
    if any(part.shape != kernel for parts in axes for part, (kernel, _) in zip(parts, kernels, strict=True)):
        return None
    kinds = [
        [_varies(places, contracted) for places, (_, contracted) in zip(parts, kernels, strict=True)] for parts in axes
    ]
    ins = [i for i, kind in enumerate(kinds) if any(inputs for inputs, _ in kind)]
    outs = [i for i, kind in enumerate(kinds) if any(outputs for _, outputs in kind)]
    if set(ins) & set(outs):
        return None
    parts = tuple(_joined(axes, shape, ins, outs, j, contracted) for j, (_, contracted) in enumerate(kernels))
    return math.prod(shape[i] for i in ins), math.prod(shape[i] for i in outs), parts, outs == [1]


def _along(transform: Transform, copies: int, shape: tuple[int, ...], axis: int) -> tuple[np.ndarray, ...]:
    """What the layers' kernels hold where the weight of the module holds at each place its number along one axis.

    A weight that a file may hold under several names is given under each.
    """
    numbers = np.arange(shape[axis], dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return as_tuple(transform.load(*[np.broadcast_to(numbers, shape)] * copies))


def _varies(places: np.ndarray, contracted: int) -> tuple[bool, bool]:
    """Whether places differ along the axes of the inputs, and along those of the outputs."""
    flat = places.reshape(math.prod(places.shape[:contracted]), -1)
    return bool((flat != flat[:1]).any()), bool((flat != flat[:, :1]).any())


def _joined(
    axes: list[tuple[np.ndarray, ...]], shape: tuple[int, ...], ins: list[int], outs: list[int], j: int, contracted: int
) -> tuple[np.ndarray, np.ndarray]:
    kernel = axes[0][j].shape
    inputs = np.zeros(kernel[:contracted], np.int64)
    for i in ins:
        inputs = inputs * shape[i] + axes[i][j][(..., *(0,) * (len(kernel) - contracted))]
    outputs = np.zeros(kernel[contracted:], np.int64)
    for i in outs:
        outputs = outputs * shape[i] + axes[i][j][(0,) * contracted]
    return inputs, outputs


def choose(schemes: Iterable[Scheme], names: Iterable[str]) -> Scheme | None:
    """Returns the scheme that knows most of the modules that an adapter names; None where none knows any.

    Args:
      schemes: of the model, the usual one first.
      names: of the modules.
    """
    wanted = list(names)
    best: tuple[int, Scheme | None] = (0, None)
    for scheme in schemes:
        known = _knows(scheme.rows)
        count = sum(known(name) for name in wanted)
        if count > best[0]:
            best = (count, scheme)
    return best[1]


def _knows(rows: Iterable[Map]) -> Any:
    found = finder(rows, "source")
    return lambda name: found(f"{name}{WEIGHT}") is not None
