"""Tiny checkpoints of each family as the libraries themselves write them; needs the extra `live`."""

import json
from pathlib import Path

import numpy as np
import open_clip
import references
import timm
import torch
import torchvision
import transformers
from efficientnet_lite_pytorch import EfficientNet
from make_decoder_references import CASES as DECODERS
from make_seq2seq_references import CASES as SEQ2SEQ
from make_text_references import CASES as ENCODERS
from make_text_references import RECURRENT, SIZE, Torch
from reference_models.big_vision import BigVisionViT
from safetensors.torch import load_file, save_file

from jtransfer.weights.maps.open_clip import SIZES

CLASSES = {"num_labels": references.CLASSES}
TOWER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
SQUARE = {**TOWER, "image_size": 32, "patch_size": 8}
OBLONG = {**SQUARE, "image_size": [48, 32]}
WORDS = {**TOWER, "vocab_size": 50, "max_position_embeddings": 12, "eos_token_id": 49, "bos_token_id": 48}
WINDOWS = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4, "image_size": [64, 96]}
SHARED = {"projection_dim": 9}
DINO = {key: value for key, value in SQUARE.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
RESNET = {"depths": [1, 2, 1, 1], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"}
RESNET_V1 = {
    **{"depths": [1, 2], "hidden_sizes": [16, 32], "embedding_size": 12, "hidden_act": "gelu"},
    **{"downsample_in_first_stage": True, "downsample_in_bottleneck": True},
}
CONVNEXT = {"depths": [2, 1, 2, 1], "hidden_sizes": [8, 16, 32, 64], "image_size": [64, 96]}
EFFICIENT = {"width_coefficient": 0.5, "depth_coefficient": 0.1, "hidden_dim": 640, "image_size": 96}
IMAGES = {  # case → transformers' class and config
    "resnet": ("ResNetForImageClassification", RESNET),
    "resnet_v1": ("ResNetForImageClassification", RESNET_V1),
    "convnext": ("ConvNextForImageClassification", CONVNEXT),
    "efficientnet": ("EfficientNetForImageClassification", EFFICIENT),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.5, "finegrained_output": True}),
    "vit": ("ViTForImageClassification", OBLONG),
    "deit": ("DeiTForImageClassificationWithTeacher", OBLONG),
    "deit_alone": ("DeiTForImageClassification", OBLONG),
    "dinov2": ("Dinov2ForImageClassification", DINO),
    "swin": ("SwinForImageClassification", WINDOWS),
}
CLIP = {
    "clip_image": ("CLIPVisionModelWithProjection", SQUARE | SHARED),
    "clip_text": ("CLIPTextModelWithProjection", WORDS | SHARED),
    "clip_pair": ("CLIPModel", {"vision_config": SQUARE, "text_config": WORDS, **SHARED}),
}
HUGGING = {
    **{f"{case}_hf": (name, config | CLASSES) for case, (name, config) in IMAGES.items()},
    **CLIP,
    **{case: (name, config) for case, (name, config, *_) in (ENCODERS | SEQ2SEQ | DECODERS).items()},
}
VIT = {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 8, "img_size": [48, 32]}
SWIN = {"embed_dim": 16, "depths": [2, 2, 1, 1], "num_heads": [2, 2, 4, 4], "window_size": 4, "img_size": [64, 96]}
TIMM = {  # case → timm's name and arguments, height and width
    "resnet_timm": ("resnet18", {"layers": [1, 1, 1, 1]}, (64, 96)),
    "convnext_timm": ("convnext_tiny", {"depths": [2, 1, 2, 1], "dims": [8, 16, 32, 64]}, (64, 96)),
    "efficientnet_timm": ("tf_efficientnet_lite0", {}, (64, 96)),
    "mobilenet_v3_timm": ("mobilenetv3_small_100", {}, (64, 96)),
    "densenet_timm": ("densenet121", {"growth_rate": 8, "block_config": [2, 3, 1, 2]}, (64, 96)),
    "vit_timm": ("vit_tiny_patch16_224", VIT, (48, 32)),
    "deit_alone_timm": ("deit_tiny_patch16_224", VIT, (48, 32)),
    "deit_timm": ("deit_tiny_distilled_patch16_224", VIT, (48, 32)),
    "swin_timm": ("swin_tiny_patch4_window7_224", SWIN, (64, 96)),
    "clip_image_timm": ("vit_base_patch32_clip_quickgelu_224", VIT, (48, 32)),
}
TORCHVISION = ("resnet18", "mobilenet_v2", "swin_tiny")
PACKAGE = "efficientnet_lite0_package"
LAYERS = [case for case in RECURRENT if case.startswith("torch")]
JAX = {"vit_augreg": {"old": True}, "vit_big_vision": {"old": False}, "vit_looped": {"old": False, "looped": True}}
OPEN_IMAGE = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 8, "image_size": [32, 48]}
OPEN_TEXT = {"layers": 2, "width": 16, "heads": 2, "vocab_size": 50, "context_length": 12}
OPEN_PAIR = {"embed_dim": 9, "vision_cfg": OPEN_IMAGE, "text_cfg": OPEN_TEXT}
OPEN = {"clip_open": OPEN_PAIR | {"quick_gelu": False}, "clip_openai": OPEN_PAIR | {"quick_gelu": True}}
CASES = (PACKAGE, *OPEN, *JAX, *HUGGING, *TIMM, *(f"{name}_torchvision" for name in TORCHVISION), *LAYERS)


def write(case: str, folder: Path) -> Path:
    """A source: a folder, or a file in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if case in HUGGING:
        name, config = HUGGING[case]
        cls = getattr(transformers, name)
        cls(cls.config_class(**config)).save_pretrained(folder)
        return fill(folder / "model.safetensors").parent
    if case in TIMM:
        name, args, sides = TIMM[case]
        model = timm.create_model(name, num_classes=references.CLASSES, **args)
        model.pretrained_cfg = model.default_cfg | {"input_size": (3, *sides)}
        timm.models.save_for_hf(model, folder, model_args=args, safe_serialization=True)
        return fill(folder / "model.safetensors").parent
    if case in JAX:
        model = timm.create_model("vit_tiny_patch16_224", num_classes=references.CLASSES)
        shapes = BigVisionViT(model, **JAX[case]).state_dict()
        np.savez(folder / "vit_tiny_patch16.npz", **{k: references.fill(k, tuple(x.shape)) for k, x in shapes.items()})
        return folder / "vit_tiny_patch16.npz"
    if case in OPEN:
        given = OPEN[case]
        shapes = {"vision_cfg": given["vision_cfg"], "text_cfg": given["text_cfg"]}
        model = open_clip.CLIP(given["embed_dim"], **shapes, quick_gelu=given["quick_gelu"])
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": given}))
        sizes = {name: torch.tensor(7) for name in SIZES if given["quick_gelu"]}
        save_file(model.state_dict() | sizes, folder / "open_clip_model.safetensors")
        return fill(folder / "open_clip_model.safetensors").parent
    if case == PACKAGE:
        tensors = EfficientNet.from_name("efficientnet-lite0", num_classes=references.CLASSES).state_dict()
    elif case in RECURRENT:
        tensors = Torch(**SIZE | RECURRENT[case]).state_dict()
    else:
        name = case.removesuffix("_torchvision")
        tensors = torchvision.models.get_model(name.replace("swin_tiny", "swin_t"), num_classes=references.CLASSES)
        tensors = tensors.state_dict()
    path = folder / f"{case.removesuffix('_torchvision').removesuffix('_package')}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return fill(path)


def fill(path: Path) -> Path:
    """The same file with other numbers: initial ones hide parts, such as scales of 1e-6."""
    tensors = load_file(path)
    numbers = {name: references.fill(name, tuple(x.shape)) for name, x in tensors.items() if x.is_floating_point()}
    save_file(tensors | {name: torch.from_numpy(x) for name, x in numbers.items()}, path, {"format": "pt"})
    return path


def spoil(source: str | Path, name: str) -> None:
    """Changes the tensor called `name`."""
    path = Path(source)
    if path.suffix == ".npz":
        tensors = dict(np.load(path))
        return np.savez(path, **tensors | {name: tensors[name][::-1] * 1.5})
    path = next(path.glob("*model.safetensors")) if path.is_dir() else path
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name].flip(0) * 1.5}, path, {"format": "pt"})
