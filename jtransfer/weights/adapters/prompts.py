"""Prompt tuning, P-tuning and prefix tuning of PEFT, whose files hold one array, `prompt_embeddings`."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.peft import Site
from jtransfer.weights.adapters.config import Config
from jtransfer.weights.formats.lazy import read

NAME = "prompt_embeddings"
TYPES = {"PROMPT_TUNING": "prompt", "P_TUNING": "prompt", "PREFIX_TUNING": "prefix"}
_ROWS = {"prompt": ("embed", {"pooled": True}), "prefix": (r"layer_\d+/attention", {})}
_NUMBER = re.compile(r"layer_(\d+)/")


def load(config: Config, tensor: Any, sites: Mapping[str, Site], params: trees.Tree) -> dict[str, Any]:
    """Returns the collection "adapters" that prompts or prefixes are.

    Args:
      config: what the adapter_config.json says.
      tensor: the array `prompt_embeddings`.
      sites: of the model; see `peft.sites`.
      params: shapes of the model's parameters.

    Raises:
      InputError: the model takes none, or the array does not fit.
    """
    method, length = TYPES[config.type], config.fields["num_virtual_tokens"]
    if method not in peft.METHODS:
        raise InputError(f"{config.where}: peft_type={config.type!r} is no method here")
    if length is None:
        raise InputError(f"{config.where}: num_virtual_tokens is missing")
    pattern, fields = _ROWS[method]
    if method == "prefix" and any(path.startswith(("decoder", "encoder")) for path in sites):
        raise InputError(f"{config.where}: prefixes of a model with an encoder and a decoder are not read")
    rows = [(pattern, method, {**fields, "length": length})]
    shapes = jax.eval_shape(lambda params: peft.init(jax.random.key(0), rows, sites, params), params)
    flat = trees.flatten(shapes)
    parts = config.fields["num_transformer_submodules"] or 1
    vectors = np.asarray(read(tensor), np.float32)
    wanted = {path: leaf.shape for path, leaf in flat.items() if "/fixed/" not in path}
    width = sum(math.prod(shape[1:]) for shape in wanted.values())
    if vectors.shape not in ((length, width), (parts * length, width)):
        raise InputError(
            f"{config.where}: {NAME} has the shape {list(vectors.shape)}, and {method} of the model {[length, width]}"
        )
    filled = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in flat.items() if path not in wanted}
    for path, shape in wanted.items():
        filled[path] = _part(vectors[:length], path, shape)
    return trees.unflatten(filled)


def _part(vectors: np.ndarray, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The vectors of one array: all; or the keys or the values of a layer, of which each has keys, then values."""
    hit = _NUMBER.match(path)
    if not hit:
        return vectors.reshape(shape)
    place = 2 * int(hit[1]) + path.endswith("values")
    return vectors.reshape(len(vectors), -1, *shape[1:])[:, place]
