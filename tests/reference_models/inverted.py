"""EfficientNet and MobileNet, families of inverted residual blocks."""

from functools import partial

import references
import torch

from reference_models.libraries import from_timm, from_torchvision


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
