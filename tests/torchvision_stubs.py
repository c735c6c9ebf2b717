"""torchvision imports after this module, also where its compiled operators do not load.

Those of a build for CUDA do not load beside torch for the CPU. They are declared then, without code: no model here runs
one of them.
"""

import importlib.util
import re
from pathlib import Path

import torch


def _declare() -> torch.library.Library:
    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    source = (folder / "_meta_registrations.py").read_text()
    operators = re.findall(r'@(?:register_meta|torch\.library\.register_fake)\("(?:torchvision::)?(\w+)"', source)
    library = torch.library.Library("torchvision", "DEF")
    for operator in sorted(set(operators)):
        library.define(f"{operator}(Tensor x) -> Tensor")
    return library


try:
    import torchvision  # noqa: F401
except ModuleNotFoundError:
    pass
except RuntimeError:  # operator torchvision::nms does not exist
    LIBRARY = _declare()
