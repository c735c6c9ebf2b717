"""CLIP under each library's names."""

from functools import partial

import references

from reference_models.libraries import AsFile, Called, from_timm


def clip_cases():
    """CLIP's towers and their pair, thin and shallow, under transformers', OpenCLIP's and timm's names."""
    words = {"vocab_size": 50, "max_length": 12, "end": 49}
    text_sizes = {"width": 24, "depth": 2, "num_heads": 3, "mlp_dim": 48}
    image_sizes = {"patch": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64}

    def sizes(fields):
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        return dict(zip(names, (fields[key] for key in ("width", "depth", "num_heads", "mlp_dim")), strict=True))

    def hugging(kind, size, act):
        import transformers

        ends = {"bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 49}
        text = {"vocab_size": 50, "max_position_embeddings": 12, "hidden_act": act, **ends, **sizes(text_sizes)}
        image = {"image_size": size, "patch_size": 8, "hidden_act": act, **sizes(image_sizes)}
        shared = {"projection_dim": references.CLASSES}
        if kind == "text":
            model = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(**text, **shared))
            return Called(AsFile(model), lambda m, ids: m(ids).text_embeds)
        if kind == "image":
            model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**image, **shared))
            return Called(AsFile(model), lambda m, images: m(images).image_embeds)
        model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=image, **shared))
        return Called(
            AsFile(model), lambda m, x: m.model(input_ids=x["input_ids"], pixel_values=x["image"]).logits_per_image
        )

    def openai(kind, size):
        from open_clip.model import CLIP

        text = {"context_length": 12, "vocab_size": 50, "width": 24, "heads": 3, "layers": 2, "mlp_ratio": 2}
        image = {"image_size": size, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8, "mlp_ratio": 2}
        model = CLIP(references.CLASSES, vision_cfg=image, text_cfg=text, quick_gelu=True)
        calls = {
            "text": lambda m, ids: m.encode_text(ids),
            "image": lambda m, images: m.encode_image(images),
            "pair": lambda m, x: m.get_logits(x["image"], x["input_ids"])[0],
        }
        return Called(model, calls[kind])

    def timm_tower(size, quick):
        name = f"vit_base_patch32_clip_{quick}224"
        return from_timm(name, img_size=size, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2)

    pair = image_sizes | words | {"projection": references.CLASSES}
    pair |= {f"text_{key}": value for key, value in text_sizes.items()}
    rows = {}
    for size in (32, 48):
        rows |= {
            f"clip_image_transformers_{size}": (
                "image",
                image_sizes,
                size,
                partial(hugging, "image", size, "quick_gelu"),
            ),
            f"clip_image_openai_{size}": ("image", image_sizes, size, partial(openai, "image", size)),
            f"clip_image_timm_{size}": (
                "image",
                image_sizes | {"head_bias": True},
                size,
                partial(timm_tower, size, "quickgelu_"),
            ),
            f"clip_pair_transformers_{size}": ("pair", pair, size, partial(hugging, "pair", size, "quick_gelu")),
        }
    gelu = {"activation": "gelu"}
    rows |= {
        "clip_image_timm_gelu": ("image", image_sizes | {"head_bias": True} | gelu, 32, partial(timm_tower, 32, "")),
        "clip_pair_gelu": ("pair", pair | gelu, 32, partial(hugging, "pair", 32, "gelu")),
        "clip_pair_openai": ("pair", pair, 32, partial(openai, "pair", 32)),
        "clip_text_transformers": ("text", text_sizes | words, 0, partial(hugging, "text", 32, "quick_gelu")),
        "clip_text_openai": ("text", text_sizes | words, 0, partial(openai, "text", 32)),
    }
    names = {"image": "clip_image_base_patch32", "text": "clip_text_base", "pair": "clip_base_patch32"}
    return {case: (names[kind], fields, size, 1.0, build) for case, (kind, fields, size, build) in rows.items()}
