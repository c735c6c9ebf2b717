"""Prompt tuning, P-tuning and prefix tuning of PEFT, whose files hold one array, `prompt_embeddings`; the first and the
last are written, too."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import peft
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, some
from jtransfer.peft import Site
from jtransfer.weights.adapters.config import Config
from jtransfer.weights.formats.lazy import read

NAME = "prompt_embeddings"
TYPES = {"PROMPT_TUNING": "prompt", "P_TUNING": "prompt", "PREFIX_TUNING": "prefix"}
METHODS = ("prompt", "prefix")
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
    if method == "prefix" and any(path.startswith(("decoder", "encoder")) for path in sites):
        raise InputError(f"{config.where}: prefixes of a model with an encoder and a decoder are not read")
    flat = trees.flatten(_shapes(method, length, sites, params))
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


def _shapes(method: str, length: int, sites: Mapping[str, Site], params: trees.Tree) -> dict[str, Any]:
    """The collection "adapters" that PEFT's prompts or prefixes of a length are, as shapes."""
    pattern, fields = _ROWS[method]
    rows = [(pattern, method, {**fields, "length": length})]
    return jax.eval_shape(lambda params: peft.init(jax.random.key(0), rows, sites, params), params)


def _part(vectors: np.ndarray, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The vectors of one array: all; or the keys or the values of a layer, of which each has keys, then values."""
    hit = _NUMBER.match(path)
    if not hit:
        return vectors.reshape(shape)
    place = 2 * int(hit[1]) + path.endswith("values")
    return vectors.reshape(len(vectors), -1, *shape[1:])[:, place]


def write(
    adapters: Sequence[tuple[str, str, Mapping[str, Any]]], sites: Mapping[str, Site], params: trees.Tree
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the method's part of adapter_config.json, and the tensors by name, of prompts or of prefixes.

    Args:
      adapters: (path of the module, method, arrays), all of one method.
      sites, params: as of `load`.

    Raises:
      InputError: PEFT has none of these modules, or not of such fields.
    """
    method = adapters[0][1]
    tree = trees.unflatten({f"{path}/{method}": own for path, _, own in adapters})
    flat = {path: np.asarray(leaf) for path, leaf in trees.flatten(tree).items()}
    vectors = {path: leaf for path, leaf in flat.items() if "/fixed/" not in path}
    length = len(next(iter(vectors.values())))
    _check_written(method, {path: leaf.shape for path, leaf in flat.items()}, length, sites, params)
    if method == "prompt":
        (tokens,) = vectors.values()
        return _fields("PROMPT_TUNING", length, tokens.shape[1]) | {"prompt_tuning_init": "RANDOM"}, {NAME: tokens}
    parts = [vectors[path] for path in sorted(vectors, key=_order)]
    _, heads, size = parts[0].shape
    more = {"num_layers": len(parts) // 2, "num_attention_heads": heads, "prefix_projection": False}
    whole = np.stack(parts, 1).reshape(length, -1)
    return _fields("PREFIX_TUNING", length, heads * size) | more | {"encoder_hidden_size": heads * size}, {NAME: whole}


def _fields(kind: str, length: int, width: int) -> dict[str, Any]:
    return {"peft_type": kind, "num_virtual_tokens": length, "token_dim": width, "num_transformer_submodules": 1}


def _order(path: str) -> tuple[int, bool]:
    """The place of an array among those of all layers, of which each has keys, then values."""
    hit = _NUMBER.match(path)
    return int(hit[1]) if hit else 0, path.endswith("values")


def _check_written(
    method: str, found: Mapping[str, Any], length: int, sites: Mapping[str, Site], params: trees.Tree
) -> None:
    if any(path.startswith(("decoder", "encoder")) for path in found):
        raise InputError(f"adapters of {method!r} are not written for PEFT of a model with an encoder and a decoder")
    pattern, fields = _ROWS[method]
    row = (pattern, method, {**fields, "length": length})
    wanted = {path: leaf.shape for path, leaf in trees.flatten(_shapes(method, length, sites, params)).items()}
    if odd := sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)):
        raise InputError(f"PEFT's adapters of {method!r} are those of the row {row}; these differ in {some(odd)}")
