"""Frozen kernels in eight or four bits: which ones, how they are stored, and back.

    params, quantized = peft.quantize(variables["params"], peft.quantizable("nf4", sites))
    y, _ = forward.apply(model, {"params": params, **quantized}, x)

What is stored is a collection of variables, `quantized/<path of the kernel>/…`, and the kernels are no longer among the
parameters. Where a module is called, `dequantized` gives it its kernel for the time of the call.

It is by hand, and not qwix's, because there a quantised kernel is a boxed value in place of the parameter in the class
of a model that is made anew, which rules, digests, checkpoints and adapters by path would not know.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.peft import nf4
from jtransfer.peft.init import STACKED
from jtransfer.peft.method import Site

COLLECTION = "quantized"
FORMATS = ("int8", "nf4", "nf4_double")
Entry = Mapping[str, Any]  # how one kernel is stored


def quantizable(table: str | Sequence[Any], sites: Mapping[str, Site], trained: Collection[str] = ()) -> dict[str, str]:
    """Returns which kernels are to be stored in which format, by path.

    Args:
      table: "" for none; a format, for every kernel of a dense layer or a convolution that it can store and that is not
        trained, embeddings excepted; or rows `(pattern, format)`, of which the first that matches the path of a kernel
        or of an embedding counts, and where the format "" leaves a kernel as it is.
        "int8" is symmetric, with a scale for each feature of the output (each row, of an embedding); "nf4" is QLoRA's,
        with a scale for 64 inputs of one feature; "nf4_double" has these scales in eight bits.
      sites: of the model, from `peft.sites`.
      trained: the paths of parameters that are trained, which stay as they are.

    Raises:
      InputError: a row is none, there is no such format, a pattern matches no kernel or trained ones alone, or a format
        can't store a kernel.
    """
    kernels = {f"{path}/{site.leaf}": site for path, site in sites.items() if site.leaf}
    if isinstance(table, str):
        if table not in ("", *FORMATS):
            raise unknown("quantize", table, FORMATS)
        plain = {path: site for path, site in kernels.items() if site.kind != "embed" and path not in trained}
        return {path: table for path, site in plain.items() if table and not _refused(table, site)}
    return _by_rows(table, kernels, trained)


def quantize(
    params: trees.Tree, formats: Mapping[str, str], sites: Mapping[str, Site]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns parameters without the kernels that are quantised, and these as `{"quantized": …}`. Pure.

    Args:
      params: of the model.
      formats: of kernels, by path, from `quantizable`.
      sites: of the model.
    """
    flat = trees.flatten(params)
    entries = {path: _encode(flat.pop(path), form, sites[path.rpartition("/")[0]]) for path, form in formats.items()}
    return trees.unflatten(flat), {COLLECTION: trees.unflatten(entries)} if entries else {}


def dequantize(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns variables without the collection "quantized", whose kernels are parameters again, in float32. Pure."""
    rest = {name: tree for name, tree in variables.items() if name != COLLECTION}
    found = {"/".join(path): _decode_stacked(path[-1], entry) for path, entry in entries(variables.get(COLLECTION, {}))}
    return rest if not found else {**rest, "params": trees.merge(rest.get("params", {}), trees.unflatten(found))}


def entries(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Entry]]:
    """Returns the path of each kernel that is stored in a tree, and how it is."""
    if is_entry(tree):
        return [(path, tree)]
    return [found for key, node in tree.items() for found in entries(node, (*path, key))]


def is_entry(node: Any) -> bool:
    """Returns whether a node of the collection is a kernel that is stored."""
    return isinstance(node, Mapping) and any(name in node and hasattr(node[name], "dtype") for name in ("int8", "nf4"))


def decode(leaf: str, entry: Entry) -> jax.Array:
    """Returns a kernel in float32.

    Args:
      leaf: "kernel" or "embedding".
      entry: how it is stored, without the leading axes of a scan.
    """
    if "int8" in entry:
        return entry["int8"].astype(jnp.float32) * entry["scale"]
    codes, absmax = entry["nf4"], _absmax(entry)
    shape = (*codes.shape[:-1], 2 * codes.shape[-1])
    if leaf == "embedding":
        return nf4.decode(codes, absmax, 1)
    flat = absmax.reshape(absmax.shape[0], -1)
    return nf4.decode(codes.reshape(-1, flat.shape[1] // 2), flat, 0).reshape(shape)


def decode_rows(entry: Entry, ids: jax.Array) -> jax.Array:
    """Returns the rows of an embedding, float32 [*ids.shape, features]; no other row is computed."""
    flat = ids.reshape(-1)
    per_row = dict(entry)
    if "nf4" in entry:
        per_row = {"nf4": entry["nf4"], "absmax": _absmax(entry)}
    rows = decode("embedding", {name: jnp.take(leaf, flat, axis=0) for name, leaf in per_row.items()})
    return rows.reshape(*ids.shape, -1)


def _by_rows(table: Sequence[Any], kernels: Mapping[str, Site], trained: Collection[str]) -> dict[str, str]:
    values = trees.flatten(rules.match([*table, (".*", "")], trees.unflatten(dict.fromkeys(kernels)), name="quantize"))
    for form in values.values():
        if form not in ("", *FORMATS):
            raise unknown("quantize: format", form, FORMATS)
    asked = {path: form for path, form in values.items() if form}
    if asked and all(path in trained for path in asked):
        raise InputError(
            f"quantize: {next(iter(asked))} is trained by a phase; only what stays frozen can be quantised"
        )
    chosen = {path: form for path, form in asked.items() if path not in trained}
    for path, form in chosen.items():
        if why := _refused(form, kernels[path]):
            raise InputError(f"quantize: {form!r} can't store {path}: {why}")
    return chosen


def _refused(form: str, site: Site) -> str:
    if form != "int8" and site.shape[-1] % 2:
        return f"its last axis of {site.shape[-1]} is odd, and two numbers share a byte; give 'int8'"
    return ""


def _encode(kernel: jax.Array, form: str, site: Site) -> dict[str, Any]:
    def one(kernel):
        return _encode_one(kernel, form, site)

    layers = kernel.shape[: kernel.ndim - len(site.shape)]
    for _ in layers:
        one = jax.vmap(one)
    stored = one(kernel)
    return {**stored, STACKED: jnp.zeros(layers)} if layers else stored


def _encode_one(kernel: jax.Array, form: str, site: Site) -> dict[str, Any]:
    embeds = site.kind == "embed"
    if form == "int8":
        axes = tuple(range(1, kernel.ndim) if embeds else range(site.contracted))
        scale = jnp.max(jnp.abs(kernel.astype(jnp.float32)), axis=axes, keepdims=True) / 127
        return {"int8": jnp.round(kernel / jnp.where(scale > 0, scale, 1)).astype(jnp.int8), "scale": scale}
    flat = kernel.reshape(-1, kernel.shape[-1]) if embeds else kernel.reshape(math.prod(site.inputs), -1)
    codes, absmax = nf4.encode(flat, 1 if embeds else 0)
    codes = codes.reshape(*kernel.shape[:-1], -1)
    absmax = absmax if embeds else absmax.reshape(-1, *site.outputs)
    return {"nf4": codes, **({"absmax": absmax} if form == "nf4" else nf4.encode_scales(absmax))}


def _absmax(entry: Entry) -> jax.Array:
    return nf4.decode_scales(dict(entry)) if "offset" in entry else entry["absmax"]


def _decode_stacked(leaf: str, entry: Entry) -> jax.Array:
    rest = {name: array for name, array in entry.items() if name != STACKED}

    def one(rest):
        return decode(leaf, rest)

    for _ in range(entry[STACKED].ndim if STACKED in entry else 0):
        one = jax.vmap(one)
    return one(rest)
