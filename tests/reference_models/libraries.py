"""Models of other libraries by name, and under other names or with other inputs than their own."""

import tempfile

import references
import torch


def from_torchvision(name, **fields):
    import torchvision

    return torchvision.models.get_model(name, weights=None, num_classes=references.CLASSES, **fields)


def from_timm(name, **fields):
    import timm

    return timm.create_model(name, num_classes=references.CLASSES, **fields)


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
