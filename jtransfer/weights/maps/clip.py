"""The names of CLIP in transformers, in OpenAI's and OpenCLIP's files, and of its image tower in timm."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.clip import CLIP, CLIPImage, CLIPText
from jtransfer.weights import schema
from jtransfer.weights.mapping import Map, Scheme, Transform, as_tuple, conv, dense, layer_norm
from jtransfer.weights.maps import vit
from jtransfer.weights.maps.open_clip import FILE as OPEN_CLIP
from jtransfer.weights.maps.open_clip import SIZES, read
from jtransfer.weights.maps.open_clip import named as open_clip  # noqa: F401 the family's, as `timm` is
from jtransfer.weights.maps.timm_arguments import arguments, only
from jtransfer.weights.maps.vit import TIMM_TOWER, fused_attention

MODEL = CLIP
_row = Transform(lambda x: x[None], lambda x: x[0])  # [n, d] ↔ [1, n, d]
_token = Transform(lambda x: x[None, None], lambda x: x[0, 0])  # [d] ↔ [1, 1, d]
_LAYER = "layer_{i}"


def schemes(model: CLIP) -> tuple[Scheme, ...]:
    """The naming schemes of a tower or of the pair; transformers' come first.

    The schemes of a tower ignore the names of the other tower.
    """
    libraries = {"transformers": (_HF_IMAGE, _HF_TEXT), "openai": (_OPENAI_IMAGE, _OPENAI_TEXT)}
    others = {"transformers": (r"text_.*", r"vision_.*|visual_.*"), "openai": (_OPENAI_OF_TEXT, r"visual\..*")}
    found = []
    for name, (image, text) in libraries.items():
        of_text, of_image = others[name]
        ignore = (r".*\.position_ids", *SIZES)
        if isinstance(model, CLIPImage):
            found.append(Scheme(name, image, (*ignore, of_text, "logit_scale")))
        elif isinstance(model, CLIPText):
            found.append(Scheme(name, text, (*ignore, of_image, "logit_scale")))
        else:
            pair = (*_under("image", image), *_under("text", text), Map("logit_scale", "head/scale"))
            found.append(Scheme(name, pair, ignore))
    if isinstance(model, CLIPImage):
        zeros = {} if model.head_bias else {"head.bias": (model.num_classes,)}
        found.append(Scheme("timm", _TIMM, zeros=zeros))
    return tuple(found)


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """The activation, as far as it can be told, and whether the projection has a bias. See `maps.fields`."""
    called = [name.lower() for name in called]
    if scheme == "timm":
        quick = any("quickgelu" in name for name in called)
        known = quick or any("_clip_" in name for name in called)
        return {"activation": _activation(quick) if known else None, "head_bias": "head.bias" in names}
    if scheme == "openai":
        quick = any(name in names for name in SIZES) or any("quickgelu" in name for name in called)
        return {"activation": _activation(quick) if quick else None}
    return {}


def _activation(quick: bool) -> str:
    return "quick_gelu" if quick else "gelu"


def _under(tower: str, rows: tuple[Map, ...]) -> Iterator[Map]:
    for row in rows:
        yield Map(row.source, tuple(f"{tower}/{path}" for path in as_tuple(row.params)), row.transform)


def _hugging(theirs: str) -> list[Map]:
    theirs, attention = f"{theirs}.encoder.layers.{{i}}", f"{_LAYER}/attention"
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
    return [
        *layer_norm(f"{theirs}.layer_norm1", f"{_LAYER}/norm1"),
        *(row for ours, name in parts.items() for row in dense(f"{theirs}.self_attn.{name}", f"{attention}/{ours}")),
        *layer_norm(f"{theirs}.layer_norm2", f"{_LAYER}/norm2"),
        *dense(f"{theirs}.mlp.fc1", f"{_LAYER}/fc1"),
        *dense(f"{theirs}.mlp.fc2", f"{_LAYER}/fc2"),
    ]


_HF_IMAGE = (
    Map("vision_model.embeddings.class_embedding", "embed/class_token", _token),
    Map("vision_model.embeddings.position_embedding.weight", "embed/positions", _row),
    *conv("vision_model.embeddings.patch_embedding", "embed/patches"),
    *layer_norm("vision_model.pre_layrnorm", "embed/norm"),
    *_hugging("vision_model"),
    *layer_norm("vision_model.post_layernorm", "pool/norm"),
    *dense("visual_projection", "head/dense"),
)

_HF_TEXT = (
    Map("text_model.embeddings.token_embedding.weight", "embed/tokens/embedding"),
    Map("text_model.embeddings.position_embedding.weight", "embed/positions"),
    *_hugging("text_model"),
    *layer_norm("text_model.final_layer_norm", "pool/norm"),
    *dense("text_projection", "head/dense"),
)


def _openai(theirs: str) -> list[Map]:
    theirs = f"{theirs}.resblocks.{{i}}"
    return [
        *layer_norm(f"{theirs}.ln_1", f"{_LAYER}/norm1"),
        *fused_attention(f"{theirs}.attn.in_proj_", f"{_LAYER}/attention"),
        *dense(f"{theirs}.attn.out_proj", f"{_LAYER}/attention/out"),
        *layer_norm(f"{theirs}.ln_2", f"{_LAYER}/norm2"),
        *dense(f"{theirs}.mlp.c_fc", f"{_LAYER}/fc1"),
        *dense(f"{theirs}.mlp.c_proj", f"{_LAYER}/fc2"),
    ]


_OPENAI_IMAGE = (
    Map("visual.class_embedding", "embed/class_token", _token),
    Map("visual.positional_embedding", "embed/positions", _row),
    *conv("visual.conv1", "embed/patches"),
    *layer_norm("visual.ln_pre", "embed/norm"),
    *_openai("visual.transformer"),
    *layer_norm("visual.ln_post", "pool/norm"),
    Map("visual.proj", "head/dense/kernel"),
)

_OPENAI_TEXT = (
    Map("token_embedding.weight", "embed/tokens/embedding"),
    Map("positional_embedding", "embed/positions"),
    *_openai("transformer"),
    *layer_norm("ln_final", "pool/norm"),
    Map("text_projection", "head/dense/kernel"),
)
_OPENAI_OF_TEXT = r"token_embedding\..*|positional_embedding|transformer\..*|ln_final\..*|text_projection"

_TIMM = (
    *TIMM_TOWER,
    *layer_norm("norm_pre", "embed/norm"),
    *layer_norm("norm", "pool/norm"),
    *dense("head", "head/dense"),
)


def _tower(config: Mapping[str, Any], of_text: bool) -> dict[str, Any]:
    config = schema.checked(config, _TOWER, f"config.json: {'text' if of_text else 'vision'}_config")
    usual = (512, 12, 8, 2048) if of_text else (768, 12, 12, 3072)
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = {ours: config.get(key, size) for ours, key, size in zip(_SIZES, keys, usual, strict=True)}
    for key, value in (("hidden_act", "quick_gelu"), ("layer_norm_eps", 1e-5)):
        sizes[_COMMON[key]] = config.get(key, value)
    if sizes["activation"] not in ("gelu", "quick_gelu"):
        raise InputError(f"config.json: hidden_act={sizes['activation']!r}; the models here have gelu and quick_gelu")
    if not of_text:
        others = {"patch": ("patch_size", 32), "image_size": ("image_size", 224), "channels": ("num_channels", 3)}
        return sizes | {ours: config.get(*theirs) for ours, theirs in others.items()}
    vocab_size, end = config.get("vocab_size", 49408), config.get("eos_token_id", 49407)
    end = vocab_size - 1 if end == 2 else end  # 2 stands in old configs, whose texts end at the highest token
    return sizes | {"vocab_size": vocab_size, "max_length": config.get("max_position_embeddings", 77), "end": end}


def _image(config: Mapping[str, Any]) -> dict[str, Any]:
    return _tower(config, of_text=False) | {"num_classes": config.get("projection_dim", 512)}


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    return _tower(config, of_text=True) | {"num_classes": config.get("projection_dim", 512)}


def _pair(config: Mapping[str, Any]) -> dict[str, Any]:
    called = [str(name) for name in config.get("architectures") or ("CLIPModel",)]
    stated = {part: config.get(f"{part}_config_dict") or config.get(f"{part}_config") for part in ("vision", "text")}
    towers = [_tower(stated[part] or {}, part == "text") for part in stated]
    shared = config.get("projection_dim", 512)
    for name, found in zip(("CLIPVision", "CLIPText"), towers, strict=True):
        if any(architecture.startswith(name) for architecture in called):
            return found | {"num_classes": shared}
    image, text = towers
    for key in _COMMON.values():
        if image[key] != text[key]:
            raise InputError(
                f"config.json: {key} is {image[key]!r} for images and {text[key]!r} for texts; it must agree"
            )
    text = {f"text_{key}" if key in _SIZES else key: value for key, value in text.items()}
    return image | text | {"projection": shared, "stages": ("image", "text", "head")}  # no tower's are these


_TOWER = {
    "hidden_size": schema.SIZE,
    "num_hidden_layers": schema.LAYERS,
    "num_attention_heads": schema.HEADS,
    "intermediate_size": schema.SIZE,
    "hidden_act": schema.TEXT,
    "layer_norm_eps": schema.RATE,
    "patch_size": schema.SIDE,
    "image_size": schema.SIDES,
    "num_channels": schema.CHANNELS,
    "vocab_size": schema.SIZE,
    "max_position_embeddings": schema.LENGTH,
    "eos_token_id": schema.TOKEN,
}
_PARTS = {f"{part}_config{end}": schema.optional(schema.OBJECT) for part in ("vision", "text") for end in ("", "_dict")}
FIELDS = _TOWER | _PARTS | {"projection_dim": schema.SIZE}
_SIZES = ("width", "depth", "num_heads", "mlp_dim")
_COMMON = {"hidden_act": "activation", "layer_norm_eps": "eps"}
STATED: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], dict[str, Any]]] = {
    "clip": (_pair, {}),
    "clip_vision_model": (_image, {}),
    "clip_text_model": (_text, {}),
}
CONFIGS = {OPEN_CLIP: read}


def part(config: Mapping[str, Any], kind: type) -> Mapping[str, Any]:
    """The config.json of a pair of towers as that of the tower that is wanted, a class of models."""
    called = {CLIPImage: "CLIPVisionModelWithProjection", CLIPText: "CLIPTextModelWithProjection"}.get(kind)
    return {**config, "architectures": [called]} if called else config


def transformers(model: CLIP) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    if isinstance(model, CLIPText):
        config = {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
        return config | _text_config(model) | {"projection_dim": model.num_classes}
    if isinstance(model, CLIPImage):
        if model.head_bias:
            raise InputError("transformers' CLIPVisionModelWithProjection has head_bias=False only")
        config = {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
        return config | _image_config(model) | {"projection_dim": model.num_classes}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model.projection,
        "text_config": _text_config(model, "text_"),
        "vision_config": _image_config(model),
    }


def _text_config(model: CLIP, prefix: str = "") -> dict[str, Any]:
    return _sizes(model, prefix) | {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_length,
        "eos_token_id": model.end,
    }


def _image_config(model: CLIP) -> dict[str, Any]:
    images = {"patch_size": model.patch, "image_size": model.image_size, "num_channels": model.channels}
    return _sizes(model) | images


def _sizes(model: CLIP, prefix: str = "") -> dict[str, Any]:
    return {
        "hidden_size": getattr(model, f"{prefix}width"),
        "num_hidden_layers": getattr(model, f"{prefix}depth"),
        "num_attention_heads": getattr(model, f"{prefix}num_heads"),
        "intermediate_size": getattr(model, f"{prefix}mlp_dim"),
        "hidden_act": model.activation,
        "layer_norm_eps": model.eps,
    }


TIMM = vit.TIMM | only(global_pool="token", init_values=None)
_TIMM_TOWERS = {  # tower → the sizes of its images, with GELU and with OpenAI's approximation
    "base_patch32": ((224, 256, 384, 448), (224,)),
    "base_patch16": ((224, 384), (224,)),
    "large_patch14": ((224, 336), (224, 336)),
}
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    f"vit_{tower}_clip_{quick}{side}": (
        f"clip_image_{tower}",
        {"image_size": side, "activation": _activation(bool(quick))},
    )
    for tower, sides in _TIMM_TOWERS.items()
    for quick, those in zip(("", "quickgelu_"), sides, strict=True)
    for side in those
}


def timm(name: str, model: CLIP) -> tuple[str, dict[str, Any]]:
    """The name and the arguments with which timm makes a model.

    Raises:
      InputError: timm has no such model.
    """
    if not isinstance(model, CLIPImage) or model.eps != 1e-5:
        raise InputError(f"timm has CLIP's image towers with eps=1e-05 only, not {name}")
    size, patch = name.removeprefix("clip_image_").split("_")
    quick = "quickgelu_" if model.activation == "quick_gelu" else ""
    table = vit.TIMM | {"embed_dim": "width"}
    args = arguments(name, model, table, free=("mlp_dim", "activation", "eps", "head_bias"))
    args |= {} if model.image_size == 224 else {"img_size": model.image_size}
    args |= {} if model.mlp_dim == 4 * model.width else {"mlp_ratio": model.mlp_dim / model.width}
    return f"vit_{size}_{patch}_clip_{quick}224", args
