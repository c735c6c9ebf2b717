"""Writes references/peft_weights.safetensors and .json: layers with adapters of PEFT, their outputs, merged kernels.

    python tests/make_peft_weights_references.py

Of each case there are the tensors as they stand in a file, the settings of its adapter_config.json, and of each layer
the output for the same input, and the kernel after merging.
"""

import copy
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision_stubs  # noqa: F401

warnings.filterwarnings("ignore")
import peft  # noqa: E402
from peft.tuners.boft import layer as boft  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

FOLDER = Path(__file__).parent / "references"
DENSE, CONVS = ["linear", "wide"], ["conv", "grouped", "pointwise", "conv1d"]
CASES = {
    "vera": peft.VeraConfig(r=3, target_modules=DENSE),
    "vera_seed": peft.VeraConfig(r=3, target_modules=DENSE, projection_prng_key=5, save_projection=False),
    "loha": peft.LoHaConfig(r=2, alpha=3, target_modules=DENSE + CONVS),
    "loha_core": peft.LoHaConfig(r=2, alpha=3, target_modules=["conv", "conv1d"], use_effective_conv2d=True),
    "lokr": peft.LoKrConfig(r=1, alpha=3, target_modules=DENSE + CONVS),
    "lokr_full": peft.LoKrConfig(r=4, alpha=3, target_modules=[*DENSE, "conv", "grouped"], decompose_factor=2),
    "lokr_both": peft.LoKrConfig(r=1, alpha=3, target_modules=DENSE, decompose_both=True),
    "lokr_core": peft.LoKrConfig(r=1, alpha=3, target_modules=["conv", "grouped"], use_effective_conv2d=True),
    "ia3": peft.IA3Config(target_modules=["linear", "conv", "grouped"], feedforward_modules=[]),
    "ia3_inputs": peft.IA3Config(target_modules=[*DENSE, "conv", "grouped"], feedforward_modules=["linear", "grouped"]),
    "randlora": peft.RandLoraConfig(r=3, randlora_alpha=4, target_modules=DENSE),
    "fourierft": peft.FourierFTConfig(n_frequency=9, scaling=20.0, target_modules=DENSE),
    "oft": peft.OFTConfig(oft_block_size=2, use_cayley_neumann=False, target_modules=[*DENSE, "pointwise", "embed"]),
    "oft_series": peft.OFTConfig(oft_block_size=4, target_modules=DENSE),
    "oft_three": peft.OFTConfig(oft_block_size=4, num_cayley_neumann_terms=3, target_modules=DENSE),
    "oft_share": peft.OFTConfig(oft_block_size=4, use_cayley_neumann=False, block_share=True, target_modules=DENSE),
    "oft_norm": peft.OFTConfig(oft_block_size=4, use_cayley_neumann=False, coft=True, eps=0.1, target_modules=DENSE),
    "boft": peft.BOFTConfig(boft_block_size=4, target_modules=["linear", "wide", "conv"]),
    "boft_three": peft.BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=3, target_modules=["wide"]),
    "boft_two": peft.BOFTConfig(boft_block_size=6, boft_n_butterfly_factor=2, target_modules=["linear", "conv"]),
}


class BlockDiagonal:
    """What PEFT's extension for GPUs computes, without which it takes a single factor."""

    @staticmethod
    def forward(blocks):
        return [torch.stack([torch.block_diag(*each) for each in blocks])]


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(12, 8)
        self.wide = torch.nn.Linear(8, 16)
        self.conv = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.grouped = torch.nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.pointwise = torch.nn.Conv2d(6, 4, 1)
        self.conv1d = torch.nn.Conv1d(4, 6, 3)
        self.embed = torch.nn.Embedding(10, 12)


INPUTS = {
    "linear": (3, 12),
    "wide": (3, 8),
    "conv": (1, 4, 5, 5),
    "grouped": (1, 4, 5, 5),
    "pointwise": (1, 6, 3, 3),
    "conv1d": (1, 4, 6),
    "embed": (2, 3),
}


def inputs():
    torch.manual_seed(1)
    return {n: torch.randint(0, 10, s) if n == "embed" else torch.randn(s) for n, s in INPUTS.items()}


def layers():
    torch.manual_seed(0)
    return Layers()


def targets(name):
    return [layer for layer in INPUTS if layer in CASES[name].target_modules]


@torch.no_grad()
def case(name):
    """The arrays of one case, by name."""
    config = CASES[name]
    patched(config)
    model = peft.get_peft_model(layers(), config)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    arrays, given = {}, inputs()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(f"{folder}/adapter_model.safetensors")
        settings = json.loads(Path(folder, "adapter_config.json").read_text())
    copies = ("model.linear.randlora_A", "model.wide.randlora_A", "model.linear.randlora_B", "model.wide.randlora_B")
    arrays = {
        f"tensor/{key.removeprefix('base_model.model.')}": value
        for key, value in tensors.items()
        if not key.endswith(copies)
    }
    arrays["settings"] = {key: value for key, value in settings.items() if value not in (None, [], {})}
    model.eval()
    for layer in targets(name):
        adapted = getattr(model.base_model.model, layer)
        arrays[f"y/{layer}"] = adapted(given[layer]).numpy()
        adapted.merge()
        arrays[f"merged/{layer}"] = adapted.get_base_layer().weight.numpy().copy()
    return arrays


def loaded(name, tensors, settings):
    """The adapted layers of a case, with the tensors and the settings of an adapter of ours."""
    config = copy.deepcopy(CASES[name])
    (first, *others) = settings.values()
    assert all(other == first for other in others)
    for key in first.keys() - {"feedforward"}:
        setattr(config, key, first[key])
    patched(config)
    model = peft.get_peft_model(layers(), config)
    names = {key: key if key.startswith("base_model.") else f"base_model.model.{key}" for key in tensors}
    found = {names[key]: torch.tensor(np.array(array)) for key, array in tensors.items()}
    result = peft.set_peft_model_state_dict(model, found)
    assert not result.unexpected_keys, result.unexpected_keys
    return model.eval().base_model.model


def patched(config):
    boft.get_fbd_cuda = lambda: BlockDiagonal if getattr(config, "boft_n_butterfly_factor", 1) > 1 else None


def main():
    cases = {name: case(name) for name in CASES}
    settings = {name: arrays.pop("settings") for name, arrays in cases.items()}
    (FOLDER / "peft_weights.json").write_text(json.dumps(settings, indent=0) + "\n")
    arrays = {f"{name}/{key}": value for name, arrays in cases.items() for key, value in arrays.items()}
    arrays |= {f"x/{name}": value.numpy().astype(np.float32) for name, value in inputs().items()}
    arrays |= {f"base/{name}": value.numpy() for name, value in layers().state_dict().items()}
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, FOLDER / "peft_weights.safetensors"
    )


if __name__ == "__main__":
    main()
