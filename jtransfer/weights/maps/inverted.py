"""Rows that the maps of EfficientNet and MobileNet have in common."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from jtransfer.models.inverted import Inverted
from jtransfer.weights.mapping import Map, batch_norm, conv, pointwise
from jtransfer.weights.maps.timm_arguments import arguments


def layer(conv_name: str, norm_name: str, ours: str) -> list[Map]:
    """The rows of a convolution and its batch norm."""
    return [*conv(conv_name, f"{ours}/conv"), *batch_norm(norm_name, f"{ours}/bn")]


def pointwise_dense(foreign: str, ours: str) -> list[Map]:
    """The rows of a 1×1 convolution that is a dense layer here."""
    return [Map(f"{foreign}.weight", f"{ours}/kernel", pointwise), Map(f"{foreign}.bias", f"{ours}/bias")]


def squeeze(reduce: str, expand: str, ours: str) -> list[Map]:
    """The rows of a block's squeeze-and-excitation."""
    return [
        *pointwise_dense(reduce, f"{ours}/squeeze/reduce"),
        *pointwise_dense(expand, f"{ours}/squeeze/expand"),
    ]


def enumerated(model: Inverted) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The path of each block, and the names of its parts in order; those of the first stage have no "expand"."""
    for i, blocks in enumerate(model.blocks, 1):
        for j, widths in enumerate(blocks):
            wide = ("expand",) if i > 1 else ()
            squeezed = ("squeeze",) if widths.squeeze else ()
            yield f"stage{i}/block{j}", (*wide, "depthwise", *squeezed, "project")


def torchvision_block(foreign: str, ours: str, names: tuple[str, ...]) -> Iterator[Map]:
    """The rows of a block in torchvision, which counts the parts that the block has."""
    for k, name in enumerate(names):
        if name == "squeeze":
            yield from squeeze(f"{foreign}.{k}.fc1", f"{foreign}.{k}.fc2", ours)
        else:
            yield from layer(f"{foreign}.{k}.0", f"{foreign}.{k}.1", f"{ours}/{name}")


def _timm_block(foreign: str, ours: str, convs: dict[str, str]) -> list[Map]:
    rows = [
        row
        for k, (theirs, name) in enumerate(convs.items(), 1)
        for row in layer(f"{foreign}.{theirs}", f"{foreign}.bn{k}", f"{ours}/{name}")
    ]
    return [*rows, *squeeze(f"{foreign}.se.conv_reduce", f"{foreign}.se.conv_expand", ours)]


TIMM = (
    *layer("conv_stem", "bn1", "stem"),
    *_timm_block("blocks.0.{j}", "stage1/block{j}", {"conv_dw": "depthwise", "conv_pw": "project"}),
    *_timm_block(
        "blocks.{i}.{j}",
        "stage{i+1}/block{j}",
        {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"},
    ),
)


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """The fields `symmetric` and `eps`, which names and shapes can't show.

    Args:
      scheme: The name of the naming scheme that the weights have.
      called: What the weights are called, such as timm's "tf_efficientnet_b0.ns_jft_in1k".
      names: The names of their tensors, which do not show it either.

    Returns:
      The fields that differ from the model's defaults; None for one that can't be told.
    """
    if scheme in ("transformers", "efficientnet_pytorch") or any(name.startswith("tf_") for name in called):
        return {"symmetric": False}
    if scheme != "timm":
        return {}
    if any(re.match(r"(efficientnet|mobilenetv[23])_", name) for name in called):
        return {"symmetric": True, "eps": 1e-5}
    return {"symmetric": None, "eps": None}


def in_timm(theirs: str, ours: str, **fields: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """The entries of a table `TIMM_MODELS` for a model that timm has with both kinds of padding."""
    return {
        theirs: (ours, {**fields, "symmetric": True, "eps": 1e-5}),
        f"tf_{theirs}": (ours, {**fields, "symmetric": False}),
    }


def tensorflow_or_not(name: str, theirs: str, model: Inverted) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Its `tf_` models pad as TensorFlow; `eps` is 1e-3 in these and 1e-5 in all others, whatever B5 has here.
    """
    usual = 1e-5 if model.symmetric else 1e-3
    args = arguments(name, model, {}, free=("symmetric", "eps"))
    args |= {"bn_eps": model.eps} if model.eps not in (None, usual) else {}
    return theirs if model.symmetric else f"tf_{theirs}", args
