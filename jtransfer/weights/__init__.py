"""Weights in and out: any public checkpoint becomes a tree of variables, with proof, and goes back.

    model, variables, report = weights.restore("hf://timm/resnet50.a1_in1k")

Every function that takes an address takes a checkpoint that `open` returned, too, and asks for none of its files twice.
"""

from jtransfer.weights.checkpoint import Checkpoint, Source, class_names, image_size, open, preprocessing, resolve
from jtransfer.weights.load import load
from jtransfer.weights.report import Report
from jtransfer.weights.restore import ModelSpec, describe, restore
from jtransfer.weights.save import save, to_tensors

__all__ = [
    "Checkpoint",
    "ModelSpec",
    "Report",
    "Source",
    "class_names",
    "describe",
    "image_size",
    "load",
    "open",
    "preprocessing",
    "resolve",
    "restore",
    "save",
    "to_tensors",
]
