"""The names of ConvNeXt in torchvision, timm, Hugging Face's transformers and the files of its authors."""

from collections.abc import Iterator, Mapping
from typing import Any

from jtransfer.models.convnext import ConvNeXt
from jtransfer.weights.mapping import Map, Scheme, Transform, conv, dense, layer_norm
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.timm_arguments import arguments, only
from jtransfer.weights.schema import LAYERS, RATE, SIDES, SIZE, many

MODEL = ConvNeXt
_plane = Transform(lambda x: x[:, 0, 0], lambda x: x[:, None, None])  # [c, 1, 1] ↔ [c]


def schemes(model: ConvNeXt) -> tuple[Scheme, ...]:
    """The naming schemes of a model; torchvision's come first."""
    return Scheme("torchvision", tuple(_torchvision(model))), _TIMM, _TRANSFORMERS, _BASE, _FACEBOOK


def _torchvision(model: ConvNeXt) -> Iterator[Map]:
    """torchvision counts the stem, each stage and each downsampling in one list."""
    yield from conv("features.0.0", "stem/conv")
    yield from layer_norm("features.0.1", "stem/norm")
    for i in range(1, len(model.depths) + 1):
        if i > 1:
            yield from layer_norm(f"features.{2 * i - 2}.0", f"stage{i}/downsample/norm")
            yield from conv(f"features.{2 * i - 2}.1", f"stage{i}/downsample/conv")
        theirs, ours = f"features.{2 * i - 1}.{{j}}", f"stage{i}/block{{j}}"
        yield from _block(f"{theirs}.block", ours, ("0", "2", "3", "5"))
        yield Map(f"{theirs}.layer_scale", f"{ours}/layer_scale/scale", _plane)
    yield from layer_norm("classifier.0", "pool/norm")
    yield from dense("classifier.2", "head/dense")


def _block(foreign: str, ours: str, names: tuple[str, str, str, str]) -> list[Map]:
    kinds = ((conv, "conv"), (layer_norm, "norm"), (dense, "fc1"), (dense, "fc2"))
    return [
        row
        for name, (kind, our) in zip(names, kinds, strict=True)
        for row in kind(f"{foreign}.{name}", f"{ours}/{our}")
    ]


_BLOCK = "stage{i+1}/block{j}"

_TIMM = Scheme(
    "timm",
    (
        *conv("stem.0", "stem/conv"),
        *layer_norm("stem.1", "stem/norm"),
        *layer_norm("stages.{i}.downsample.0", "stage{i+1}/downsample/norm"),
        *conv("stages.{i}.downsample.1", "stage{i+1}/downsample/conv"),
        *_block("stages.{i}.blocks.{j}", _BLOCK, ("conv_dw", "norm", "mlp.fc1", "mlp.fc2")),
        Map("stages.{i}.blocks.{j}.gamma", f"{_BLOCK}/layer_scale/scale"),
        *layer_norm("head.norm", "pool/norm"),
        *dense("head.fc", "head/dense"),
    ),
)

_STAGE = "convnext.encoder.stages.{i}"

_TRANSFORMERS = Scheme(
    "transformers",
    (
        *conv("convnext.embeddings.patch_embeddings", "stem/conv"),
        *layer_norm("convnext.embeddings.layernorm", "stem/norm"),
        *layer_norm(f"{_STAGE}.downsampling_layer.0", "stage{i+1}/downsample/norm"),
        *conv(f"{_STAGE}.downsampling_layer.1", "stage{i+1}/downsample/conv"),
        *_block(f"{_STAGE}.layers.{{j}}", _BLOCK, ("dwconv", "layernorm", "pwconv1", "pwconv2")),
        Map(f"{_STAGE}.layers.{{j}}.layer_scale_parameter", f"{_BLOCK}/layer_scale/scale"),
        *layer_norm("convnext.layernorm", "pool/norm"),
        *dense("classifier", "head/dense"),
    ),
)

_BASE = without_prefix(_TRANSFORMERS, "convnext.")

_FACEBOOK = Scheme(
    "facebook",
    (
        *conv("downsample_layers.0.0", "stem/conv"),
        *layer_norm("downsample_layers.0.1", "stem/norm"),
        *layer_norm("downsample_layers.{i}.0", "stage{i+1}/downsample/norm"),
        *conv("downsample_layers.{i}.1", "stage{i+1}/downsample/conv"),
        *_block("stages.{i}.{j}", _BLOCK, ("dwconv", "norm", "pwconv1", "pwconv2")),
        Map("stages.{i}.{j}.gamma", f"{_BLOCK}/layer_scale/scale"),
        *layer_norm("norm", "pool/norm"),
        *dense("head", "head/dense"),
    ),
)


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "depths": config["depths"],
        "widths": config["hidden_sizes"],
        "image_size": config.get("image_size", 224),
        "pool_eps": config.get("layer_norm_eps", 1e-12),
    }


FIELDS = {
    "depths": many(LAYERS, 1, 100),
    "hidden_sizes": many(SIZE, 1, 100),
    "image_size": SIDES,
    "layer_norm_eps": RATE,
}
_REQUIRED = {"hidden_act": "gelu", "patch_size": 4}
STATED = {"convnext": (_stated, _REQUIRED)}


def transformers(model: ConvNeXt) -> dict[str, Any]:
    """The content of transformers' config.json for a model."""
    return {
        "architectures": ["ConvNextForImageClassification"],
        "model_type": "convnext",
        "num_stages": len(model.depths),
        "hidden_sizes": list(model.widths),
        "depths": list(model.depths),
        "layer_norm_eps": model.pool_eps,
        "drop_path_rate": model.drop_path,
        "image_size": model.image_size,
        **_REQUIRED,
    }


TIMM = {"depths": "depths", "dims": "widths"} | only(conv_mlp=False, use_grn=False, head_norm_first=False)
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"convnext_{size}": (f"convnext_{size}", {}) for size in ("tiny", "small", "base", "large")},
    "convnext_xlarge": ("convnext_large", {"widths": (256, 512, 1024, 2048)}),
}


def timm(name: str, model: ConvNeXt) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    free = ("pool_eps",) if model.pool_eps <= _SMALL else ()
    return name, arguments(name, model, TIMM, free=free)


_SMALL = 1e-6  # below which no result shows what is added to a variance
