"""Parameter-efficient tuning: adapters of any Linen module, by path.

    sites = peft.sites(model, variables, x)
    rows = [("layer_.*/attention/(query|value)/kernel", "lora", {"rank": 8})]
    variables = {**variables, "adapters": peft.init(key, rows, sites, variables["params"])}
    y, _ = forward.apply(model, variables, x)                          # adapted
    params = peft.merge(variables["params"], variables["adapters"])    # adapted, without adapters

The state of an adapter is a tree of arrays, keyed by the paths of the modules that it adapts; nothing else is known of
it.
"""

from jtransfer.peft.init import init, plan
from jtransfer.peft.interceptor import enter
from jtransfer.peft.merging import merge, unmerge
from jtransfer.peft.method import FIXED, Method, Site, linear
from jtransfer.peft.quantization import dequantize, quantizable, quantize
from jtransfer.peft.sites import find as sites
from jtransfer.peft.slots import METHODS

__all__ = [
    "FIXED",
    "METHODS",
    "Method",
    "Site",
    "dequantize",
    "enter",
    "init",
    "linear",
    "merge",
    "plan",
    "quantizable",
    "quantize",
    "sites",
    "unmerge",
]
