"""What timm calls ViT, DeiT, DINOv2 and the image tower of SigLIP, and the arguments with which it makes them."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.vit import ViT
from jtransfer.weights.maps.timm_arguments import arguments, image_size, only


def activation_of(theirs: str, said: str) -> str:
    """The name that an activation of a configuration has here.

    Args:
      theirs: Its name there.
      said: Where it stands, for the message.

    Raises:
      InputError: There is no such activation.
    """
    if theirs not in _ACTIVATIONS:
        raise InputError(f"{said}={theirs!r}; the models here have {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[theirs]


_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_tanh": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "quick_gelu": "quick_gelu",
}


def _widths(args: Mapping[str, Any]) -> dict[str, Any]:
    width = args.get("embed_dim")
    return {"width": width, "mlp_dim": int(args.get("mlp_ratio", 4) * width)} if width else {}


def _pooling(args: Mapping[str, Any]) -> dict[str, Any]:
    if args["global_pool"] not in _POOLINGS:
        raise InputError(f"config.json: model_args has global_pool={args['global_pool']!r}, which no model here has")
    return {"pooling": _POOLINGS[args["global_pool"]]}


_POOLINGS = {"token": "cls", "avg": "mean", "map": "map"}
TIMM = {
    "patch_size": "patch",
    "embed_dim": _widths,
    "depth": "depth",
    "num_heads": "num_heads",
    "img_size": image_size,
    "mlp_ratio": _widths,
    "global_pool": _pooling,
    "act_layer": lambda args: {"activation": activation_of(args["act_layer"], "config.json: model_args has act_layer")},
    "init_values": "layer_scale",
    **only(qkv_bias=True, no_embed_class=False, reg_tokens=0, fc_norm=None, qk_norm=False, pos_embed="learn"),
}
_LARGE = {"width": 1024, "depth": 24, "num_heads": 16, "mlp_dim": 4096}
_HUGE = {"width": 1280, "depth": 32, "num_heads": 16, "mlp_dim": 5120}
_TANH = {"activation": "gelu_new"}  # of the later ones
_SO400M = {"width": 1152, "depth": 27, "num_heads": 16, "mlp_dim": 4304}
_TOWERS: tuple[tuple[str, str, dict[str, Any], tuple[int, ...]], ...] = (  # timm's name of a size, ours, fields, sides
    *((f"vit_{size}", f"vit_{size}", {}, (224, 384)) for size in ("tiny_patch16", "small_patch16", "small_patch32")),
    *((f"vit_{size}", f"vit_{size}", {}, (224, 384)) for size in ("base_patch16", "base_patch32")),
    *((f"vit_{size}", f"vit_{size}", {}, (224, 384)) for size in ("large_patch16", "large_patch32")),
    *((f"vit_{size}_patch8", f"vit_{size}_patch16", {"patch": 8}, (224,)) for size in ("small", "base")),
    ("vit_large_patch14", "vit_large_patch16", {"patch": 14}, (224,)),
    ("vit_huge_patch14", "vit_large_patch16", {"patch": 14, **_HUGE}, (224,)),
    *((f"deit_{size}_patch16", f"deit_{size}_patch16", {}, (224,)) for size in ("tiny", "small")),
    *((f"deit_{size}_distilled_patch16", f"deit_{size}_distilled_patch16", {}, (224,)) for size in ("tiny", "small")),
    *((f"deit_base_{kind}patch16", f"deit_base_{kind}patch16", {}, (224, 384)) for kind in ("", "distilled_")),
    ("vit_base_patch16_siglip", "vit_base_patch16_siglip", {}, (224, 256, 384, 512)),
    ("vit_base_patch32_siglip", "vit_base_patch16_siglip", {"patch": 32, **_TANH}, (256,)),
    ("vit_large_patch16_siglip", "vit_base_patch16_siglip", _LARGE, (256, 384)),
    ("vit_large_patch16_siglip", "vit_base_patch16_siglip", {**_LARGE, **_TANH}, (512,)),
    ("vit_so400m_patch14_siglip", "vit_base_patch16_siglip", {**_SO400M, "patch": 14}, (224, 378)),
    ("vit_so400m_patch16_siglip", "vit_base_patch16_siglip", {**_SO400M, **_TANH}, (256, 384, 512)),
)
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{theirs}_{side}": (ours, {**fields, "image_size": side})
        for theirs, ours, fields, sides in _TOWERS
        for side in sides
    },
    **{f"vit_{size}_patch14_dinov2": (f"dinov2_{size}", {}) for size in ("small", "base", "large")},
}


def timm(name: str, model: ViT) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    pools = {ours: theirs for theirs, ours in _POOLINGS.items()}
    able = ("map",) if name.endswith("_siglip") else ("cls", "mean")
    if model.pooling not in able:
        raise InputError(f"timm's {name} has pooling={' or '.join(map(repr, able))}; this model has {model.pooling!r}")
    if model.distillation_token and not model.distilled:
        raise InputError(f"timm's {name} has no distillation token without its classifier; export it to transformers")
    dino = name.startswith("dinov2_")
    theirs = f"vit_{name.removeprefix('dinov2_')}_patch14_dinov2" if dino else f"{name}_224"
    args = arguments(
        name,
        model,
        TIMM | {"embed_dim": "width"},
        free=("mlp_dim", "pooling", "layer_scale", "eps", "activation"),
    )
    args |= {} if model.pooling in ("cls", "map") else {"global_pool": pools[model.pooling]}
    args |= {} if model.activation == "gelu" else {"act_layer": model.activation.replace("gelu_new", "gelu_tanh")}
    args |= {} if model.image_size == (518 if dino else 224) else {"img_size": model.image_size}
    return theirs, args | ({} if model.mlp_dim == 4 * model.width else {"mlp_ratio": model.mlp_dim / model.width})
