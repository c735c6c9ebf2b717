"""ResNet, EfficientNet-Lite and VGG under each library's names."""

import references
import torch

from reference_models.libraries import from_timm, from_torchvision


def from_lite_package(name, size):
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(name, num_classes=references.CLASSES, image_size=size)


def from_transformers_resnet(depths, kind, **changes):
    import transformers

    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    fields = {"hidden_sizes": widths, "downsample_in_bottleneck": False} | changes
    config = transformers.ResNetConfig(depths=depths, layer_type=kind, num_labels=references.CLASSES, **fields)
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


def resnet_cases():
    """ResNet at full width."""
    theirs = {
        "resnet18_torchvision": (64, lambda: from_torchvision("resnet18")),
        "resnet18_timm": (65, lambda: from_timm("resnet18")),
        "resnet18_transformers": (64, lambda: from_transformers_resnet([2, 2, 2, 2], "basic")),
        "resnet34_torchvision": (64, lambda: from_torchvision("resnet34")),
        "resnet50_torchvision": (64, lambda: from_torchvision("resnet50")),
        "resnet50_timm": (64, lambda: from_timm("resnet50")),
        "resnet50_transformers": (64, lambda: from_transformers_resnet([3, 4, 6, 3], "bottleneck")),
        "resnet101_torchvision": (64, lambda: from_torchvision("resnet101")),
        "resnet152_torchvision": (64, lambda: from_torchvision("resnet152")),
    }
    return {case: (case.split("_")[0], {}, size, 0.8, build) for case, (size, build) in theirs.items()}


RESNETS = ("resnext50_32x4d", "wide_resnet50_2", "resnet26d", "seresnet18", "seresnext26t_32x4d", "resnetrs50")


def thin_resnet_cases():
    """The kin of ResNet in timm, thin and shallow, of images with odd sides; and what transformers' ResNet can be."""
    depths, widths = [1, 2, 1, 1], (16, 32, 48, 64)
    fields = {"depths": depths, "widths": widths}
    shared = {"embedding_size": 12, "downsample_in_first_stage": True}
    first = {"downsample_in_bottleneck": True}

    def thin(name):
        return from_timm(name, layers=depths, channels=widths)

    def hugging(kind, expansion, **changes):
        sizes = [expansion * width for width in widths]
        return from_transformers_resnet(depths, kind, hidden_sizes=sizes, **shared, **changes)

    rows = {f"{name}_thin": (name, fields, lambda name=name: thin(name)) for name in RESNETS} | {
        "resnet_basic_hf": ("resnet18", fields | shared, lambda: hugging("basic", 1)),
        "resnet_v1_hf": (
            "resnet50",
            fields | shared | first | {"activation": "gelu", "inner_activation": "relu"},
            lambda: hugging("bottleneck", 4, hidden_act="gelu", **first),
        ),
    }
    return {case: (model, given, 75, 1.2, build) for case, (model, given, build) in rows.items()}


def lite_cases():
    """EfficientNet-Lite of the Lite package and of timm; that which timm trained itself pads all sides alike."""
    symmetric = ("efficientnet_lite0", {"symmetric": True}, 64, 1.0, lambda: from_timm("efficientnet_lite0"))
    return {"efficientnet_lite0_ra": symmetric} | {
        f"efficientnet_lite{i}_{library}": (f"efficientnet_lite{i}", {}, 64, 1.0, build)
        for i in range(5)
        for library, build in {
            "timm": lambda i=i: from_timm(f"tf_efficientnet_lite{i}"),
            "package": lambda i=i: from_lite_package(f"efficientnet-lite{i}", 64),
        }.items()
    }


def vgg_cases():
    """VGG, once as it is, else with narrow fully connected layers."""
    return {"vgg11_bn_full": ("vgg11_bn", {}, 64, 1.2, lambda: from_torchvision("vgg11_bn"))} | {
        f"{name}_{library}": (name, {"width": 64}, 64, 1.2, build)
        for name in [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")]
        for library, build in {
            "torchvision": lambda name=name: narrow(from_torchvision(name), 64),
            "timm": lambda name=name: narrow_timm(from_timm(name), 64),
        }.items()
    }
