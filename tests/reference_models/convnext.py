"""ConvNeXt under each library's names, and those of its authors' files."""

import re

import references

from reference_models.libraries import from_timm


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
