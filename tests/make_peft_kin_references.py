"""Makes references/adapters/peft_kin.npz with Hugging Face's PEFT: `python tests/make_peft_kin_references.py`.

For each case: weights and factors in PyTorch's layout, an input, the adapted output, the gradient of sum(y · t) by the
factors, and the merged weight. Of AdaLoRA, also which triples its allocator leaves at each step.
"""

from pathlib import Path

import numpy as np
import torch
import torchvision_stubs  # noqa: F401
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from peft.tuners.adalora.layer import RankAllocator
from torch import nn

PATH = Path(__file__).parent / "references" / "adapters" / "peft_kin.npz"

LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "conv": (lambda: nn.Conv2d(4, 5, 3, stride=2, padding=1), (2, 4, 6, 6)),
    "embed": (lambda: nn.Embedding(7, 4), (2, 3)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 5)),
}
CASES = {
    "linear_lora": ("linear", {}),
    "linear_rslora": ("linear", {"use_rslora": True}),
    "linear_dora": ("linear", {"use_dora": True}),
    "linear_pissa": ("linear", {"init_lora_weights": "pissa"}),
    "linear_olora": ("linear", {"init_lora_weights": "olora"}),
    "conv_lora": ("conv", {}),
    "conv_dora": ("conv", {"use_dora": True}),
    "embed_lora": ("embed", {}),
    "embed_dora": ("embed", {"use_dora": True}),
    "grouped_lora": ("grouped", {}),
    "linear_adalora": ("linear", None),
}
STEPS = 12


class One(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


def case(name):
    """The arrays of one case, by name."""
    kind, fields = CASES[name]
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = make()
    x = torch.randint(0, 7, shape) if kind == "embed" else torch.randn(shape)
    found = {"weight": layer.weight, "x": x}
    if getattr(layer, "bias", None) is not None:
        found["bias"] = layer.bias
    found = {key: value.detach().clone() for key, value in found.items()}
    if fields is None:
        config = AdaLoraConfig(init_r=4, target_r=2, lora_alpha=3, target_modules=["layer"], total_step=STEPS)
    else:
        config = LoraConfig(r=4, lora_alpha=6, target_modules=["layer"], **fields)
    model = get_peft_model(One(layer), config)
    trained = {key: p for key, p in model.named_parameters() if "lora_" in key}
    starts = {short(key): p.detach().clone() for key, p in trained.items()}
    with torch.no_grad():
        for p in trained.values():
            p.add_(0.3 * torch.randn_like(p))
    y = model(x)
    t = torch.randn_like(y)
    (y * t).sum().backward()
    if fields and "init_lora_weights" in fields:
        found |= {f"start_{key}": value for key, value in starts.items()}
    found |= {short(key): p for key, p in trained.items()}
    found |= {f"grad_{short(key)}": p.grad for key, p in trained.items()}
    found |= {"y": y, "t": t}
    if kind != "grouped":
        found["merged"] = model.merge_and_unload().layer.weight
    return {key: value.detach().numpy() for key, value in found.items()}


def short(key):
    """lora_A and so on, of a parameter's name."""
    return next(part for part in key.split(".") if part.startswith("lora_"))


def allocations():
    """What the allocator of AdaLoRA leaves of two layers' triples, and the parameters and gradients that it is told."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    schedule = {"total_step": STEPS, "tinit": 2, "tfinal": 3, "deltaT": 2, "beta1": 0.8, "beta2": 0.7}
    config = AdaLoraConfig(init_r=4, target_r=2, target_modules=["0", "1"], **schedule)
    model = get_peft_model(model, config)
    allocator = RankAllocator(model, config, "default")
    found, last = {}, STEPS - config.tfinal
    for step in range(1, STEPS + 1):
        for key, p in model.named_parameters():
            if "lora_" in key:
                name = f"{key.split('.')[-3]}_{short(key)}"
                p.data, p.grad = torch.randn_like(p), torch.randn_like(p)
                found.setdefault(name, []).append(p.data.numpy().copy())
                found.setdefault(f"{name}_grad", []).append(p.grad.numpy().copy())
        if step < last:
            allocator.update_and_allocate(model, step)
        elif step == last:
            _, kept = allocator.update_and_allocate(model, step, force_mask=True)
        else:
            allocator.mask_using_rank_pattern(model, kept)
        for key, p in model.named_parameters():
            if "lora_E" in key:
                found.setdefault(f"{key.split('.')[-3]}_after", []).append(p.data.numpy().copy())
    return {name: np.stack(values) for name, values in found.items()}


def main():
    found = {f"{name}/{key}": value for name in CASES for key, value in case(name).items()}
    found |= {f"allocations/{key}": value for key, value in allocations().items()}
    np.savez_compressed(PATH, **found)


if __name__ == "__main__":
    main()
