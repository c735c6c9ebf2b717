"""Activations by the names that configurations give them."""

from functools import partial

import flax.linen as nn

ACTIVATIONS = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_new": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
    "silu": nn.silu,
}
