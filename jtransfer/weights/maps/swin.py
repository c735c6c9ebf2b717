"""The names of Swin in timm, torchvision, transformers and the files of its authors.

Since version 5, the modules of transformers have other names than its files.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.models.swin import Swin, relative_index
from jtransfer.weights.mapping import Map, Scheme, conv, dense, layer_norm, linear
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.timm_arguments import arguments, image_size, only
from jtransfer.weights.maps.vit import fused_attention
from jtransfer.weights.schema import HEADS, LAYERS, RATE, SIDE, SIDES, SIZE, many, whole

MODEL = Swin
_IGNORE = (r".*\.relative_position_index", r".*\.attn_mask")
_BLOCK = "stage{i+1}/block{j}"
_NORMS = ("norm1", "norm2")


def schemes(model: Swin) -> tuple[Scheme, ...]:
    """The naming schemes of a model; timm's come first.

    A stage of timm begins with the merging of places, one of the others' ends with that before the next.
    """
    stages = range(len(model.depths))
    hugging = [
        Scheme("transformers", (*_HUGGING, *_hugging_blocks(_FILES)), _IGNORE),
        Scheme("transformers modules", (*_HUGGING, *_hugging_blocks(_MODULES)), _IGNORE),
    ]
    return (
        Scheme("timm", (*_ends("head.fc"), *_merge("layers.{i}.downsample", "{i+1}"), *_timm_blocks), _IGNORE),
        Scheme("microsoft", (*_ends("head"), *_merge("layers.{i}.downsample", "{i+2}"), *_timm_blocks), _IGNORE),
        Scheme("torchvision", tuple(row for i in stages for row in _torchvision(i)), _IGNORE, derived=_indices(model)),
        *hugging,
        *(without_prefix(scheme, "swin.") for scheme in hugging),
    )


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """What the library does where windows don't divide the map, which nothing else shows. See `maps.fields`."""
    return {"shrink": scheme != "torchvision", "roll_first": scheme == "timm"}


def _indices(model: Swin) -> dict[str, np.ndarray]:
    """torchvision's buffers, which say for each pair of places in a window its row of the table of relative biases."""
    index = relative_index((model.window, model.window)).astype(np.int64).ravel()
    blocks = ((2 * i + 1, j) for i, depth in enumerate(model.depths) for j in range(depth))
    return {f"features.{i}.{j}.attn.relative_position_index": index for i, j in blocks}


def _block(theirs: str, ours: str, mlp: tuple[str, str]) -> list[Map]:
    """The rows of a block where query, key and value are one tensor."""
    return [
        *(row for name in _NORMS for row in layer_norm(f"{theirs}.{name}", f"{ours}/{name}")),
        *fused_attention(f"{theirs}.attn.qkv.", f"{ours}/attention"),
        *dense(f"{theirs}.attn.proj", f"{ours}/attention/out"),
        Map(f"{theirs}.attn.relative_position_bias_table", f"{ours}/relative_bias"),
        *dense(f"{theirs}.{mlp[0]}", f"{ours}/fc1"),
        *dense(f"{theirs}.{mlp[1]}", f"{ours}/fc2"),
    ]


def _merge(theirs: str, stage: str) -> list[Map]:
    dense = Map(f"{theirs}.reduction.weight", f"stage{stage}/merge/dense/kernel", linear)
    return [*layer_norm(f"{theirs}.norm", f"stage{stage}/merge/norm"), dense]


def _ends(head: str) -> list[Map]:
    """What comes before and after the stages in timm and in the authors' files."""
    return [
        *conv("patch_embed.proj", "stem/patches"),
        *layer_norm("patch_embed.norm", "stem/norm"),
        *layer_norm("norm", "pool/norm"),
        *dense(head, "head/dense"),
    ]


_timm_blocks = _block("layers.{i}.blocks.{j}", _BLOCK, ("mlp.fc1", "mlp.fc2"))


def _torchvision(i: int) -> Iterator[Map]:
    """The rows of stage i, counted from 0, with those of the ends at the first."""
    if i == 0:
        yield from conv("features.0.0", "stem/patches")
        yield from layer_norm("features.0.2", "stem/norm")
        yield from layer_norm("norm", "pool/norm")
        yield from dense("head", "head/dense")
    else:
        yield from _merge(f"features.{2 * i}", f"{i + 1}")
    yield from _block(f"features.{2 * i + 1}.{{j}}", f"stage{i + 1}/block{{j}}", ("mlp.0", "mlp.3"))


_HUGGING = (
    *conv("swin.embeddings.patch_embeddings.projection", "stem/patches"),
    *layer_norm("swin.embeddings.norm", "stem/norm"),
    *_merge("swin.encoder.layers.{i}.downsample", "{i+2}"),
    *layer_norm("swin.layernorm", "pool/norm"),
    *dense("classifier", "head/dense"),
)
_FILES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "relative_bias": "attention.self",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
_MODULES = {
    **{name: f"attention.{name[0]}_proj" for name in ("query", "key", "value", "out")},
    "relative_bias": "attention.relative_position_bias",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}


def _hugging_blocks(names: Mapping[str, str]) -> Iterator[Map]:
    theirs = "swin.encoder.layers.{i}.blocks.{j}"
    for ours, norm in zip(_NORMS, ("layernorm_before", "layernorm_after"), strict=True):
        yield from layer_norm(f"{theirs}.{norm}", f"{_BLOCK}/{ours}")
    for part in ("query", "key", "value", "out"):
        yield from dense(f"{theirs}.{names[part]}", f"{_BLOCK}/attention/{part}")
    for part in ("fc1", "fc2"):
        yield from dense(f"{theirs}.{names[part]}", f"{_BLOCK}/{part}")
    yield Map(f"{theirs}.{names['relative_bias']}.relative_position_bias_table", f"{_BLOCK}/relative_bias")


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    size = config["image_size"]
    maps = _maps(size if isinstance(size, list) else (size, size), config["patch_size"], len(config["depths"]))
    _check_oblong(maps, config["window_size"])
    return {
        "patch": config["patch_size"],
        "width": config["embed_dim"],
        "depths": config["depths"],
        "num_heads": config["num_heads"],
        "window": config["window_size"],
        "image_size": size,
        "drop_path": config.get("drop_path_rate", 0.1),
        "shrink": True,
        "roll_first": False,
    }


FIELDS = {
    "image_size": SIDES,
    "patch_size": SIDE,
    "embed_dim": SIZE,
    "depths": many(LAYERS, 1, 100),
    "num_heads": many(HEADS, 1, 100),
    "window_size": whole(1, 1024),
    "drop_path_rate": RATE,
}
_REQUIRED = {
    "hidden_act": "gelu",
    "qkv_bias": True,
    "mlp_ratio": 4.0,
    "use_absolute_embeddings": False,
    "layer_norm_eps": 1e-5,
}
STATED: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], dict[str, Any]]] = {"swin": (_stated, _REQUIRED)}


def transformers(model: Swin) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    smallest = min(min(sides) for sides in _maps_of(model))
    _check_borders(model, "transformers", {"roll_first": False} if smallest >= model.window else None)
    _check_oblong(_maps_of(model), model.window)
    return {
        "architectures": ["SwinForImageClassification"],
        "model_type": "swin",
        "patch_size": model.patch,
        "embed_dim": model.width,
        "depths": list(model.depths),
        "num_heads": list(model.num_heads),
        "window_size": model.window,
        "image_size": model.image_size,
        "drop_path_rate": model.drop_path,
        **_REQUIRED,
    }


TIMM = {
    "depths": "depths",
    "num_heads": "num_heads",
    "window_size": "window",
    "patch_size": "patch",
    "embed_dim": "width",
    "img_size": image_size,
    **only(mlp_ratio=4.0, qkv_bias=True),
}
_NAMES = {
    **{f"swin_{size}": f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large")},
    **{f"swin_{size}_384": f"swin_{size}_patch4_window12_384" for size in ("base", "large")},
}


TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {theirs: (ours, {}) for ours, theirs in _NAMES.items()}


def timm(name: str, model: Swin) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    _check_borders(model, "timm", {"shrink": True, "roll_first": True})
    args = arguments(name, model, TIMM, free=("shrink", "roll_first"))
    usual = 384 if name.endswith("_384") else 224
    return _NAMES[name], args | ({} if model.image_size == usual else {"img_size": model.image_size})


def torchvision(name: str, model: Swin) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which torchvision makes a model.

    Raises:
      InputError: torchvision has no such model.
    """
    if arguments(name, model, {}, free=("shrink", "roll_first")) or name not in _TORCHVISION:
        raise InputError(f"torchvision has no {name} with these fields; it has {', '.join(_TORCHVISION)}")
    return _TORCHVISION[name], {}


_TORCHVISION = {f"swin_{size}": f"swin_{size[0]}" for size in ("tiny", "small", "base")}


def _check_borders(model: Swin, library: str, needed: Mapping[str, bool] | None) -> None:
    """Checks that a library computes what the model computes where windows do not divide the map.

    Args:
      model: The model.
      library: The name of the library.
      needed: The fields that the library has; None means that it can't have maps smaller than a window.

    Raises:
      InputError: The model has other fields, and they matter.
    """
    if all(side % model.window == 0 for sides in _maps_of(model) for side in sides):
        return
    if needed is None:
        raise InputError(f"transformers has no Swin with maps smaller than the window of {model.window}")
    for field, value in needed.items():
        if getattr(model, field) != value:
            raise InputError(
                f"the Swin of {library} has {field}={value} only, which matters where windows of {model.window} don't "
                f"divide the maps of an image of {model.sides[0]}×{model.sides[1]}"
            )


def _check_oblong(maps: Iterable[tuple[int, int]], window: int) -> None:
    """Raises InputError where one side alone is a single window: transformers then shifts along neither."""
    for sides in maps:
        if min(sides) <= window < max(sides):
            raise InputError(
                f"transformers' Swin shifts no windows of {window} in a map of {sides[0]}×{sides[1]}, the models here "
                f"do: take another image_size"
            )


def _maps_of(model: Swin) -> list[tuple[int, int]]:
    return list(_maps(model.sides, model.patch, len(model.depths)))


def _maps(sides: Sequence[int], patch: int, stages: int) -> Iterator[tuple[int, int]]:
    """The sides of each stage's map."""
    height, width = (side // patch for side in sides)
    for _ in range(stages):
        yield height, width
        height, width = -(-height // 2), -(-width // 2)
