"""DenseNet under each library's names, and those of torchvision's public files."""

import re
from functools import partial

import references
import torch

from reference_models.libraries import from_timm


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
