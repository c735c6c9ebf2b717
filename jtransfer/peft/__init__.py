"""Parameter-efficient tuning: adapters of any Linen module, by path.

    sites = peft.sites(model, variables, x)
    rows = [("layer_.*/attention/(query|value)/kernel", "lora", {"rank": 8})]
    variables = {**variables, "adapters": peft.init(key, rows, sites, variables["params"])}
    y, _ = forward.apply(model, variables, x)                          # adapted
    params = peft.merge(variables["params"], variables["adapters"])    # adapted, without adapters

The state of an adapter is a tree of arrays, keyed by the paths of the modules that it adapts; nothing else is known of
it.
"""

from jtransfer.peft.batching import per_example, stack
from jtransfer.peft.combining import combine
from jtransfer.peft.eva import eva
from jtransfer.peft.fusion import fuse
from jtransfer.peft.init import init, optimizer, plan
from jtransfer.peft.interceptor import enter
from jtransfer.peft.joining import add, disable, label, pad, scale
from jtransfer.peft.merging import merge, unmerge
from jtransfer.peft.method import FIXED, Method, Site, linear
from jtransfer.peft.norms import Norms, norms
from jtransfer.peft.quantization import dequantize, quantizable, quantize
from jtransfer.peft.rates import lora_plus
from jtransfer.peft.sites import find as sites
from jtransfer.peft.slots import METHODS, remember
from jtransfer.peft.summary import Adapted, adapted, kind
from jtransfer.peft.targets import WORDS

__all__ = [
    "FIXED",
    "METHODS",
    "WORDS",
    "Adapted",
    "Method",
    "Norms",
    "Site",
    "adapted",
    "add",
    "combine",
    "dequantize",
    "disable",
    "enter",
    "eva",
    "fuse",
    "init",
    "kind",
    "label",
    "linear",
    "lora_plus",
    "merge",
    "norms",
    "optimizer",
    "pad",
    "per_example",
    "plan",
    "quantizable",
    "quantize",
    "remember",
    "scale",
    "sites",
    "stack",
    "unmerge",
]
