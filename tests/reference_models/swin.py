"""Swin under each library's names, and those of its authors' files."""

import re
from functools import partial

import references
import torch

from reference_models.libraries import AsFile, from_timm


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
