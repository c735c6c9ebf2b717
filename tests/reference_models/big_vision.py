"""Vision transformers under the names of big_vision's files."""

import tempfile

import numpy as np
import references
import torch


class BigVisionViT:
    """A timm ViT under the names of ViT-AugReg's or big_vision's files; timm's own reader takes them in.

    `looped`: with all layers in one tensor.
    """

    def __init__(self, model, old, looped=False):
        self.model, self.old, self.looped = model.eval(), old, looped

    def eval(self):
        return self

    def state_dict(self):
        model = self.model
        width, heads = model.embed_dim, model.blocks[0].attn.num_heads
        patch, mlp = model.patch_embed.patch_size, model.blocks[0].mlp.fc1.out_features
        norm = {"scale": (width,), "bias": (width,)}
        shapes = {} if model.cls_token is None else {"cls": (1, 1, width)}
        shapes["Transformer/posembed_input/pos_embedding" if self.old else "pos_embedding"] = model.pos_embed.shape

        def add(name, **parts):
            shapes.update({f"{name}/{part}": shape for part, shape in parts.items()})

        add("embedding", kernel=(*patch, 3, width), bias=(width,))
        add("Transformer/encoder_norm", **norm)
        add("head", kernel=(width, references.CLASSES), bias=(references.CLASSES,))
        attention, norm2, network = (1, 2, 3) if self.old else (0, 1, 0)

        def parts(block, norm2):
            add(f"{block}/LayerNorm_{norm2}", **norm)
            for name in ("query", "key", "value"):
                split = (heads, width // heads)
                add(f"{block}/MultiHeadDotProductAttention_{attention}/{name}", kernel=(width, *split), bias=split)
            out = {"kernel": (heads, width // heads, width), "bias": (width,)}
            add(f"{block}/MultiHeadDotProductAttention_{attention}/out", **out)
            add(f"{block}/MlpBlock_{network}/Dense_0", kernel=(width, mlp), bias=(mlp,))
            add(f"{block}/MlpBlock_{network}/Dense_1", kernel=(mlp, width), bias=(width,))

        depth, block = len(model.blocks), "Transformer/encoderblock"
        for name in [block] if self.looped else [f"{block}_{i}" for i in range(depth)]:
            add(f"{name}/LayerNorm_0", **norm)
            parts(name, norm2)
        if self.looped:
            shapes |= {name: (depth, *shape) for name, shape in shapes.items() if name.startswith(f"{block}/")}
        if model.attn_pool is not None:
            add("MAPHead_0", probe=(1, 1, width))
            parts("MAPHead_0", 0)
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def load_state_dict(self, tensors):
        from timm.models.vision_transformer import _load_weights

        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/weights.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
            _load_weights(self.model, f"{folder}/weights.npz")

    def __call__(self, images):
        return self.model(images)
