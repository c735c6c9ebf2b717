"""Files of transformers' Flax models, `flax_model.msgpack`, under the names and in the layout of its torch models.

Up to version 4, transformers had a Flax module for many of its torch modules, with the same names for its parts. Their
trees differ in the last part of each path, in the order of a kernel's axes, and, where there are batch norms, in the
collection that comes first.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jtransfer.weights.formats.lazy import Lazy, read

_LAYER = r"attention/(self|attention)/query|attention/q_lin|self_attn/q_proj|SelfAttention/q|attn/c_attn"
_OWN = re.compile(rf"(.*/)?(\d+/({_LAYER})|embedder/embedder/convolution)/kernel")
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}  # of a kernel, by its number of axes: [in, out] and [height, width, in, out]
_COLLECTION = re.compile("(params|batch_stats)/")
_UNNAMED = "/layer/layer_"  # the convolutions of a basic block of ResNet, which torch numbers as "/layer/0"


def is_transformers_flax(names: Iterable[str]) -> bool:
    """Returns whether the paths of a tree, joined by "/", are those of a Flax model of transformers.

    Its layers are numbered by a part of the path of their own, as in "encoder/layer/0/attention/self/query/kernel",
    which Flax itself never does.
    """
    return any(_OWN.fullmatch(name) for name in names)


def as_torch(tensors: Mapping[str, Any]) -> dict[str, Lazy]:
    """Returns the tensors of a Flax model of transformers by the names of its torch model; none is read.

    Args:
      tensors: by path; each is a `Lazy` or an array.

    Returns:
      The same numbers: kernels are views with their axes in torch's order.
    """
    return dict(_as_torch(name, tensor) for name, tensor in tensors.items())


def _as_torch(path: str, tensor: Any) -> tuple[str, Lazy]:
    *parts, leaf = _COLLECTION.sub("", path, count=1).replace(_UNNAMED, "/layer/").split("/")
    axes = tuple(range(len(tensor.shape)))
    axes = _AXES.get(len(axes), axes) if leaf == "kernel" else axes

    def fetch() -> np.ndarray:
        return read(tensor).transpose(axes)

    shape = tuple(tensor.shape[axis] for axis in axes)
    return ".".join([*parts, _LEAVES.get(leaf, leaf)]), Lazy(shape, np.dtype(tensor.dtype), fetch)
