"""Makes tests/attribution.npz: Grad-CAM and gradient × input of small networks, by torch's autograd.

python tests/make_attribution_references.py
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FILE = Path(__file__).parent / "attribution.npz"


class Convolutions(nn.Module):
    """Two convolutions, after the second of which the map is taken, the mean over places, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.top, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 8, 3), nn.Linear(8, 5)

    def maps(self, x):
        return torch.tanh(self.top(torch.relu(self.stem(x))))

    def forward(self, x):
        return self.head(self.maps(x).square().mean((2, 3)))


class Words(nn.Module):
    """Embeddings, a layer, the mean over tokens, and a classifier."""

    def __init__(self):
        super().__init__()
        self.embed, self.layer, self.head = nn.Embedding(20, 6), nn.Linear(6, 7), nn.Linear(7, 4)

    def of(self, embedded):
        return self.head(torch.tanh(self.layer(embedded)).mean(1).exp())


def grad_cam(model, x, targets):
    maps = model.maps(x).detach().requires_grad_()
    logits = model.head(maps.square().mean((2, 3)))
    logits.gather(1, targets[:, None]).sum().backward()
    weights = maps.grad.mean((2, 3), keepdim=True)
    return torch.relu((weights * maps).sum(1)).detach()


def gradient_input(embedded, forward, targets):
    embedded = embedded.detach().requires_grad_()
    forward(embedded).gather(1, targets[:, None]).sum().backward()
    return (embedded * embedded.grad).detach()


def main():
    torch.manual_seed(0)
    images, words = Convolutions().double(), Words().double()
    x, ids = torch.randn(3, 3, 15, 11).double(), torch.randint(0, 20, (3, 9))
    classes, kinds = torch.tensor([4, 0, 2]), torch.tensor([3, 0, 1])
    vectors = torch.randn(3, 7).double()
    held = {"x": x.permute(0, 2, 3, 1), "ids": ids, "classes": classes, "kinds": kinds, "vectors": vectors}
    held["cam"] = grad_cam(images, x, classes)
    held["words"] = gradient_input(words.embed(ids), words.of, kinds).sum(-1)
    held["numbers"] = gradient_input(vectors, lambda v: words.head(v.exp()), kinds)
    for name, model in (("images", images), ("words", words)):
        held |= {f"{name}/{key}": value.detach() for key, value in model.state_dict().items()}
    np.savez_compressed(FILE, **{key: value.numpy() for key, value in held.items()})


if __name__ == "__main__":
    main()
