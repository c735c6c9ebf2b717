"""Vision transformers under each library's names."""

from functools import partial

import references

from reference_models.big_vision import BigVisionViT
from reference_models.libraries import AsFile, from_timm


def vit_cases():
    """ViT, DeiT and DINOv2, thin and shallow, under each library's names."""
    fields = {"patch": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64}
    small = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2}

    def hugging(kind, size, suffix="", **changes):
        import transformers

        mlp = {"mlp_ratio": 2} if kind == "Dinov2" else {"intermediate_size": 64}
        config = getattr(transformers, f"{kind}Config")(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=size,
            patch_size=8,
            num_labels=references.CLASSES,
            **mlp,
            **changes,
        )
        return getattr(transformers, f"{kind}ForImageClassification{suffix}")(config)

    def timm_vit(name, size, **changes):
        return from_timm(name, img_size=size, **small, **changes)

    plain, tiny = "vit_tiny_patch16", "vit_tiny_patch16_224"
    exact = fields | {"eps": 1e-12}
    dino = fields | {"layer_scale": 1.0}
    mapped, siglip = fields | {"pooling": "map"}, "vit_base_patch16_siglip_224"
    rows = {}
    for size in (32, 48):
        rows |= {
            f"vit_timm_{size}": (plain, fields, size, partial(timm_vit, tiny, size)),
            f"vit_mean_timm_{size}": (
                plain,
                fields | {"pooling": "mean"},
                size,
                partial(timm_vit, tiny, size, global_pool="avg", fc_norm=True),
            ),
            f"vit_transformers_{size}": (plain, exact, size, lambda s=size: AsFile(hugging("ViT", s))),
            f"vit_modules_{size}": (plain, exact, size, partial(hugging, "ViT", size)),
            f"deit_timm_{size}": (
                "deit_tiny_distilled_patch16",
                fields,
                size,
                partial(timm_vit, "deit_tiny_distilled_patch16_224", size),
            ),
            f"deit_transformers_{size}": (
                "deit_tiny_distilled_patch16",
                exact,
                size,
                lambda s=size: AsFile(hugging("DeiT", s, "WithTeacher")),
            ),
            f"dinov2_timm_{size}": ("dinov2_small", dino, size, partial(timm_vit, "vit_small_patch14_dinov2", size)),
            f"dinov2_transformers_{size}": (
                "dinov2_small",
                dino | {"pooling": "cls+mean"},
                size,
                lambda s=size: AsFile(hugging("Dinov2", s)),
            ),
            f"vit_augreg_{size}": (plain, fields, size, lambda s=size: BigVisionViT(timm_vit(tiny, s), old=True)),
            f"vit_big_vision_{size}": (plain, fields, size, lambda s=size: BigVisionViT(timm_vit(tiny, s), old=False)),
            f"vit_looped_{size}": (
                plain,
                fields,
                size,
                lambda s=size: BigVisionViT(timm_vit(tiny, s), old=False, looped=True),
            ),
            f"vit_map_timm_{size}": (plain, mapped, size, partial(timm_vit, siglip, size)),
            f"vit_map_big_vision_{size}": (
                plain,
                mapped,
                size,
                lambda s=size: BigVisionViT(timm_vit(siglip, s), old=False),
            ),
        }
    rows |= {
        "deit_alone_transformers_32": (
            "deit_tiny_patch16",
            exact | {"distillation_token": True},
            32,
            lambda: AsFile(hugging("DeiT", 32)),
        ),
        "deit_alone_timm_32": ("deit_tiny_patch16", fields, 32, lambda: timm_vit("deit_tiny_patch16_224", 32)),
    }
    return {case: (model, fields, size, 1.0, build) for case, (model, fields, size, build) in rows.items()}
