"""Writes tests/references/mlp/*: state dicts of tiny networks of `torch.nn.Sequential`, and what the networks give.

python tests/make_mlp_references.py

Needs torch. Each case is `<case>.pth`, as torch saves it, and `<case>.npz` with `inputs` and `logits`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "references" / "mlp"


class Wrapped(nn.Module):
    """A network that is an attribute of a module, as most programs have it, and that flattens its input."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3))

    def forward(self, x):
        return self.net(x)


CASES = {
    "acoustic": lambda: nn.Sequential(
        nn.Linear(80, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 10)
    ),
    "dropout": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 3)
    ),
    "wrapped": Wrapped,
}


def main():
    FOLDER.mkdir(exist_ok=True)
    for seed, (case, make) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        model = make().eval()
        features = next(layer.in_features for layer in model.modules() if isinstance(layer, nn.Linear))
        inputs = torch.randn(5, features)
        with torch.no_grad():
            logits = model(inputs)
        torch.save(model.state_dict(), FOLDER / f"{case}.pth")
        np.savez_compressed(FOLDER / f"{case}.npz", inputs=inputs.numpy(), logits=logits.numpy())


if __name__ == "__main__":
    main()
