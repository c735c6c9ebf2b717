"""The PyTorch side of `step_speed`: ResNet-18 and EfficientNet-Lite0, and one function for each kind of step."""

import torch
from torch import nn
from torch.nn import functional as F

# expansion, features, blocks, kernel, strides
LITE0 = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


def conv_norm(cin, features, kernel, strides=1, groups=1, act=None):
    conv = nn.Conv2d(cin, features, kernel, strides, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(features), *([act] if act else []))


class Residual(nn.Module):
    def __init__(self, branch, shortcut=None, after=None):
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut or nn.Identity(), after or nn.Identity()

    def forward(self, x):
        return self.after(self.branch(x) + self.shortcut(x))


def resnet18(num_classes):
    relu = nn.ReLU(inplace=True)
    stages, cin = [conv_norm(3, 64, 7, 2, act=relu), nn.MaxPool2d(3, 2, 1)], 64
    for features, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for strides in (first, 1):
            branch = nn.Sequential(conv_norm(cin, features, 3, strides, act=relu), conv_norm(features, features, 3))
            shortcut = None if strides == 1 and cin == features else conv_norm(cin, features, 1, strides)
            stages.append(Residual(branch, shortcut, relu))
            cin = features
    backbone = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(cin, num_classes)})


def efficientnet_lite0(num_classes):
    relu6 = nn.ReLU6(inplace=True)
    stages, cin = [conv_norm(3, 32, 3, 2, act=relu6)], 32
    for expansion, features, blocks, kernel, first in LITE0:
        for strides in (first, *[1] * (blocks - 1)):
            wide = cin * expansion
            layers = [conv_norm(cin, wide, 1, act=relu6)] if expansion > 1 else []
            layers += [conv_norm(wide, wide, kernel, strides, wide, relu6), conv_norm(wide, features, 1)]
            branch = nn.Sequential(*layers)
            stages.append(Residual(branch) if strides == 1 and cin == features else branch)
            cin = features
    stages.append(conv_norm(cin, 1280, 1, act=relu6))
    backbone = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.ModuleDict({"backbone": backbone, "head": nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))})


MODELS = {"resnet18": resnet18, "efficientnet_lite0": efficientnet_lite0}


def make(case):
    """A function without arguments that runs `case` once."""
    torch.manual_seed(0)
    model = MODELS[case.model](case.classes).to(memory_format=torch.channels_last)
    x = torch.randn(case.batch, 3, case.size, case.size).to(memory_format=torch.channels_last)
    return step(model, x, case)


def step(model, x, case):
    """The same for a model of "backbone" and "head" and its input."""
    torch.set_num_threads(2)
    labels = torch.randint(0, case.classes, (case.batch,))
    return {"forward": forward, "full": full, "head": head_only, "cached": head_only}[case.kind](model, x, labels)


def forward(model, x, labels):
    model.eval()

    @torch.inference_mode()
    def run():
        return model["head"](model["backbone"](x))

    return run


def full(model, x, labels):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model["head"](model["backbone"](x)), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def head_only(model, x, labels):
    model.eval()
    model.requires_grad_(False)
    model["head"].requires_grad_(True)
    optimizer = torch.optim.SGD(model["head"].parameters(), lr=1e-3, momentum=0.9)

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            features = model["backbone"](x)
        loss = F.cross_entropy(model["head"](features), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run
