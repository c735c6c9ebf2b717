"""CLIP's names in transformers, in OpenAI's own files (OpenCLIP's are the same), and in timm for the image tower."""

from collections.abc import Iterator

from jtransfer.models.clip import CLIP, CLIPImage, CLIPText
from jtransfer.weights.mapping import Map, Scheme, Transform, conv, dense, layer_norm
from jtransfer.weights.maps.vit import TIMM_TOWER, fused_attention

MODEL = CLIP
_row = Transform(lambda x: x[None], lambda x: x[0])  # [n, d] ↔ [1, n, d]
_token = Transform(lambda x: x[None, None], lambda x: x[0, 0])  # [d] ↔ [1, 1, d]
_LAYER = "layer_{i}"


def schemes(model: CLIP) -> tuple[Scheme, ...]:
    """The naming schemes of a tower or of the pair; transformers' come first. A tower ignores the other one by name."""
    libraries = {"transformers": (_HF_IMAGE, _HF_TEXT), "openai": (_OPENAI_IMAGE, _OPENAI_TEXT)}
    others = {"transformers": (r"text_.*", r"vision_.*|visual_.*"), "openai": (_OPENAI_OF_TEXT, r"visual\..*")}
    found = []
    for name, (image, text) in libraries.items():
        of_text, of_image = others[name]
        ignore = (r".*\.position_ids", *_OPENAI_SIZES)
        if isinstance(model, CLIPImage):
            found.append(Scheme(name, image, (*ignore, of_text, "logit_scale")))
        elif isinstance(model, CLIPText):
            found.append(Scheme(name, text, (*ignore, of_image, "logit_scale")))
        else:
            pair = (*_under("image", image), *_under("text", text), Map("logit_scale", "head/scale"))
            found.append(Scheme(name, pair, ignore))
    return (*found, Scheme("timm", _TIMM)) if isinstance(model, CLIPImage) else tuple(found)


def _under(tower: str, rows: tuple[Map, ...]) -> Iterator[Map]:
    for row in rows:
        paths = row.ours if isinstance(row.ours, tuple) else (row.ours,)
        paths = tuple(f"{tower}/{path}" for path in paths)
        yield Map(row.foreign, paths if len(paths) > 1 else paths[0], row.transform)


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
_OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")

_TIMM = (
    *TIMM_TOWER,
    *layer_norm("norm_pre", "embed/norm"),
    *layer_norm("norm", "pool/norm"),
    *dense("head", "head/dense"),
)
