"""The names of a multilayer perceptron that is torch's `nn.Sequential`, which counts all its modules.

With an activation after each layer the layers are 0, 2, 4, …, with dropout too 0, 3, 6, …; where a module such as
`nn.Flatten` comes before, they begin at 1. The `nn.Sequential` may be an attribute of a module.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jtransfer.models.mlp import MLP
from jtransfer.weights.mapping import Map, Scheme, dense

MODEL = MLP
_PREFIXES = ("", "net.", "network.", "layers.", "model.", "mlp.", "main.", "classifier.", "linear_relu_stack.")
_SCHEMES = {  # name → number of the first layer, and how many modules there are from a layer to the next
    "torch": (0, 2),
    "torch with dropout": (0, 3),
    "torch after flatten": (1, 2),
    "torch with dropout after flatten": (1, 3),
}
_ACTIVATIONS = {
    "gelu": ("GELU", {}),
    "gelu_new": ("GELU", {"approximate": "tanh"}),
    "relu": ("ReLU", {}),
    "sigmoid": ("Sigmoid", {}),
    "silu": ("SiLU", {}),
    "tanh": ("Tanh", {}),
}


def schemes(model: MLP) -> tuple[Scheme, ...]:
    """The naming schemes of `model`, that of its own modules first."""
    own = "torch with dropout" if model.dropout else "torch"
    names = sorted(_SCHEMES, key=lambda name: name != own)
    return tuple(Scheme(name, tuple(_rows(len(model.widths), *_SCHEMES[name])), ignore=()) for name in names)


def _rows(depth: int, first: int, step: int) -> Iterator[Map]:
    stages = [*(f"hidden{i}" for i in range(1, depth + 1)), "head"]
    for prefix in _PREFIXES:
        for i, stage in enumerate(stages):
            yield from dense(f"{prefix}{first + i * step}", f"{stage}/dense")


def sizes(tensors: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sizes that shapes show; None where the tensors are not a chain of dense layers with biases."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = [(match, shape) for name, shape in shapes.items() if (match := re.fullmatch(r"(.*?)(\d+)\.weight", name))]
    kernels = {int(match[2]): shape for match, shape in found}
    biases = {f"{match[1]}{match[2]}.bias": shape[:1] for match, shape in found}
    chain = [kernels[number] for number in sorted(kernels)]
    whole = len({match[1] for match, _ in found}) == 1 and len(shapes) == 2 * len(chain) > 2
    if not whole or any(len(shape) != 2 for shape in chain) or any(a[0] != b[1] for a, b in pairwise(chain)):
        return None
    if any(shapes.get(name) != shape for name, shape in biases.items()):
        return None
    return {"num_features": chain[0][1], "widths": tuple(shape[0] for shape in chain[:-1])}


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """What has no parameters can't be told."""
    return {"activation": None} | ({"dropout": None} if "dropout" in scheme else {})


def reference(torch: Any, model: MLP, names: Collection[str]) -> Any:
    """torch's `nn.Sequential` that the names of a file tell, in modules of the names before its own."""
    numbers = sorted({int(name.split(".")[-2]) for name in names})
    kind, options = _ACTIVATIONS[model.activation]
    widths = (model.num_features, *model.widths, model.num_classes)
    modules: list[Any] = [torch.nn.Identity() for _ in range(numbers[-1] + 1)]
    for i, number in enumerate(numbers):
        modules[number] = torch.nn.Linear(*widths[i : i + 2])
        if number != numbers[-1]:
            modules[number + 1] = getattr(torch.nn, kind)(**options)
    found = torch.nn.Sequential(*modules)
    for attribute in reversed(next(iter(names)).split(".")[:-2]):
        inner, found = found, torch.nn.Sequential()
        found.add_module(attribute, inner)
    return found
