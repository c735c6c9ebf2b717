"""The names of ViT, DeiT and DINOv2 in timm and transformers.

Since version 5, the modules of transformers have other names than its files.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.models.vit import ViT
from jtransfer.weights.mapping import Map, Scheme, Transform, conv, dense, layer_norm
from jtransfer.weights.maps import big_vision
from jtransfer.weights.maps.base_model import without_prefix
from jtransfer.weights.maps.vit_in_timm import TIMM, TIMM_MODELS, activation_of, timm
from jtransfer.weights.schema import HEADS, LAYERS, RATE, SIDE, SIDES, SIZE, TEXT, number

__all__ = [
    "FIELDS",
    "MODEL",
    "STATED",
    "TIMM",
    "TIMM_MODELS",
    "fields",
    "fused_attention",
    "schemes",
    "timm",
    "transformers",
]

MODEL = ViT
_LAYER = "layer_{i}"
_QKV = ("query", "key", "value")
_fused_linear = Transform(  # [3·d, d] ↔ three [d, d]
    lambda x: tuple(part.T for part in np.split(x, 3)), lambda *parts: np.concatenate([part.T for part in parts])
)
_fused_bias = Transform(lambda x: tuple(np.split(x, 3)), lambda *parts: np.concatenate(parts))


def fused_attention(foreign: str, ours: str) -> list[Map]:
    """The rows of query, key and value where one tensor holds the three.

    Args:
      foreign: The name of that tensor, up to "weight" and "bias".
      ours: The path of the attention.
    """
    kernels, biases = (tuple(f"{ours}/{name}/{kind}" for name in _QKV) for kind in ("kernel", "bias"))
    return [Map(f"{foreign}weight", kernels, _fused_linear), Map(f"{foreign}bias", biases, _fused_bias)]


def _fused_pair(foreign: str, ours: str) -> list[Map]:
    """The rows of key and value where one tensor holds the two. Arguments as for `fused_attention`."""
    kernels, biases = (tuple(f"{ours}/{name}/{kind}" for name in _QKV[1:]) for kind in ("kernel", "bias"))
    halves = Transform(lambda x: tuple(part.T for part in np.split(x, 2)), _fused_linear.save)
    half_biases = Transform(lambda x: tuple(np.split(x, 2)), _fused_bias.save)
    return [Map(f"{foreign}weight", kernels, halves), Map(f"{foreign}bias", biases, half_biases)]


TIMM_TOWER = (
    Map("cls_token", "embed/class_token"),
    Map("pos_embed", "embed/positions"),
    *conv("patch_embed.proj", "embed/patches"),
    *layer_norm("blocks.{i}.norm1", f"{_LAYER}/norm1"),
    *fused_attention("blocks.{i}.attn.qkv.", f"{_LAYER}/attention"),
    *dense("blocks.{i}.attn.proj", f"{_LAYER}/attention/out"),
    *layer_norm("blocks.{i}.norm2", f"{_LAYER}/norm2"),
    *dense("blocks.{i}.mlp.fc1", f"{_LAYER}/fc1"),
    *dense("blocks.{i}.mlp.fc2", f"{_LAYER}/fc2"),
)


def schemes(model: ViT) -> tuple[Scheme, ...]:
    """The naming schemes of a model; timm's come first."""
    kind = _kind(model)
    others = big_vision.schemes(model) if kind == "vit" else ()
    if model.pooling == "map":
        return _timm(model), *others
    hugging = [_transformers(kind, model), _modules(kind, model)]
    return _timm(model), *hugging, *(without_prefix(scheme, f"{kind}.") for scheme in hugging), *others


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """The activation, which is an approximation of GELU in weights that were trained in JAX. See `maps.fields`."""
    return {"activation": "gelu_new"} if scheme.startswith(("augreg", "big_vision")) else {}


def _kind(model: ViT) -> str:
    if "distillation_token" in model.tokens:
        return "deit"
    return "vit" if model.layer_scale is None else "dinov2"


def _timm(model: ViT) -> Scheme:
    token, head = Map("dist_token", "embed/distillation_token"), dense("head_dist", "head/distilled")
    distilled = [token] * ("distillation_token" in model.tokens) + (head if model.distilled else [])
    rows = [
        *TIMM_TOWER,
        *distilled,
        Map("blocks.{i}.ls1.gamma", f"{_LAYER}/scale1/scale"),
        Map("blocks.{i}.ls2.gamma", f"{_LAYER}/scale2/scale"),
        *layer_norm("fc_norm" if model.pooling == "mean" else "norm", "pool/norm"),
        Map("attn_pool.latent", "pool/probe"),
        *dense("attn_pool.q", "pool/attention/query"),
        *_fused_pair("attn_pool.kv.", "pool/attention"),
        *dense("attn_pool.proj", "pool/attention/out"),
        *layer_norm("attn_pool.norm", "pool/norm2"),
        *dense("attn_pool.mlp.fc1", "pool/fc1"),
        *dense("attn_pool.mlp.fc2", "pool/fc2"),
        *dense("head", "head/dense"),
    ]
    return Scheme("timm", tuple(rows), ignore=("mask_token",))


def _ends(kind: str, model: ViT) -> list[Map]:
    """The rows of what comes before and after the layers in transformers."""
    return [
        Map(f"{kind}.embeddings.cls_token", "embed/class_token"),
        Map(f"{kind}.embeddings.distillation_token", "embed/distillation_token"),
        Map(f"{kind}.embeddings.position_embeddings", "embed/positions"),
        *conv(f"{kind}.embeddings.patch_embeddings.projection", "embed/patches"),
        *layer_norm(f"{kind}.layernorm", "pool/norm"),
        *dense("cls_classifier" if model.distilled else "classifier", "head/dense"),
        *dense("distillation_classifier", "head/distilled"),
    ]


_IGNORE = (r".*\.mask_token", r".*pooler\.dense\.(weight|bias)")


def _transformers(kind: str, model: ViT) -> Scheme:
    """The names in the files of transformers."""
    theirs = f"{kind}.encoder.layer.{{i}}"
    dino = kind == "dinov2"
    norms = ("norm1", "norm2") if dino else ("layernorm_before", "layernorm_after")
    mlp = ("mlp.fc1", "mlp.fc2") if dino else ("intermediate.dense", "output.dense")
    rows = [
        *_ends(kind, model),
        *layer_norm(f"{theirs}.{norms[0]}", f"{_LAYER}/norm1"),
        *layer_norm(f"{theirs}.{norms[1]}", f"{_LAYER}/norm2"),
        *(row for name in _QKV for row in dense(f"{theirs}.attention.attention.{name}", f"{_LAYER}/attention/{name}")),
        *dense(f"{theirs}.attention.output.dense", f"{_LAYER}/attention/out"),
        *dense(f"{theirs}.{mlp[0]}", f"{_LAYER}/fc1"),
        *dense(f"{theirs}.{mlp[1]}", f"{_LAYER}/fc2"),
        *(Map(f"{theirs}.layer_scale{k}.lambda1", f"{_LAYER}/scale{k}/scale") for k in (1, 2)),
    ]
    zeros = {"dinov2.embeddings.mask_token": (1, model.width)} if dino else {}
    return Scheme(f"transformers {kind}", tuple(rows), _IGNORE, zeros)


def _modules(kind: str, model: ViT) -> Scheme:
    """The names of transformers' modules since version 5, which its files do not have."""
    theirs = "dinov2.encoder.layer.{i}" if kind == "dinov2" else f"{kind}.layers.{{i}}"
    norms = ("norm1", "norm2") if kind == "dinov2" else ("layernorm_before", "layernorm_after")
    rows = [
        *_ends(kind, model),
        *layer_norm(f"{theirs}.{norms[0]}", f"{_LAYER}/norm1"),
        *layer_norm(f"{theirs}.{norms[1]}", f"{_LAYER}/norm2"),
        *(row for name in _QKV for row in dense(f"{theirs}.attention.{name[0]}_proj", f"{_LAYER}/attention/{name}")),
        *dense(f"{theirs}.attention.o_proj", f"{_LAYER}/attention/out"),
        *dense(f"{theirs}.mlp.fc1", f"{_LAYER}/fc1"),
        *dense(f"{theirs}.mlp.fc2", f"{_LAYER}/fc2"),
        *(Map(f"{theirs}.layer_scale{k}.lambda1", f"{_LAYER}/scale{k}/scale") for k in (1, 2)),
    ]
    return Scheme(f"transformers {kind} modules", tuple(rows), _IGNORE)


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    width = config["hidden_size"]
    return {
        "width": width,
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "mlp_dim": config["intermediate_size"],
        "patch": config["patch_size"],
        "image_size": config["image_size"],
        "pooling": "cls",
        "distilled": False,
        "distillation_token": False,
        "layer_scale": None,
        "eps": config.get("layer_norm_eps", 1e-12),
        "activation": activation_of(config.get("hidden_act", "gelu"), "config.json: hidden_act"),
    }


def _deit(config: Mapping[str, Any]) -> dict[str, Any]:
    distilled = any(str(name).endswith("WithTeacher") for name in config.get("architectures") or ())
    return _stated(config) | {"distilled": distilled, "distillation_token": not distilled}


def _dinov2(config: Mapping[str, Any]) -> dict[str, Any]:
    mlp_dim = int(config.get("mlp_ratio", 4) * config["hidden_size"])
    found = _stated({"layer_norm_eps": 1e-6, **config, "intermediate_size": mlp_dim})
    return found | {"layer_scale": config["layerscale_value"], "pooling": "cls+mean"}


FIELDS = {
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": SIZE,
    "patch_size": SIDE,
    "image_size": SIDES,
    "layer_norm_eps": RATE,
    "hidden_act": TEXT,
    "mlp_ratio": number(0.01, 1000),
    "layerscale_value": number(-1e6, 1e6),
}
_CLASSES = {"vit": "ViT", "deit": "DeiT", "dinov2": "Dinov2"}
_REQUIRED = {"qkv_bias": True}
STATED: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], dict[str, Any]]] = {
    "vit": (_stated, _REQUIRED),
    "vit_mae": (_stated, _REQUIRED),
    "deit": (_deit, _REQUIRED),
    "dinov2": (_dinov2, _REQUIRED | {"use_swiglu_ffn": False}),
}


def transformers(model: ViT) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    kind = _kind(model)
    pooling = "cls+mean" if kind == "dinov2" else "cls"
    if model.pooling != pooling:
        raise InputError(f"transformers' {kind} has pooling={pooling!r}; this model has {model.pooling!r}")
    if kind == "dinov2" and model.mlp_dim % model.width:
        raise InputError(f"transformers' dinov2 has an mlp_dim that is a multiple of the width {model.width}")
    mlp = {"mlp_ratio": model.mlp_dim // model.width, "layerscale_value": model.layer_scale}
    return {
        "architectures": [f"{_CLASSES[kind]}ForImageClassification" + "WithTeacher" * model.distilled],
        "model_type": kind,
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.num_heads,
        **(mlp if kind == "dinov2" else {"intermediate_size": model.mlp_dim}),
        "patch_size": model.patch,
        "image_size": model.image_size,
        "layer_norm_eps": model.eps,
        "hidden_act": model.activation,
        **_REQUIRED,
    }
