"""Layers that the models share: attention, convolution, normalisation, pooling and recurrence.

Images and feature maps have the axes [batch, height, width, channels], sequences [batch, positions, features].
"""

from jtransfer.layers.attention import Attention
from jtransfer.layers.conv import Conv, conv
from jtransfer.layers.l2_normalize import l2_normalize
from jtransfer.layers.layer_norm import LayerNorm
from jtransfer.layers.layer_scale import LayerScale
from jtransfer.layers.norm import BatchNorm
from jtransfer.layers.pooling import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool
from jtransfer.layers.post_norm import PostNorm
from jtransfer.layers.squeeze_excite import SqueezeExcite
from jtransfer.layers.tied_embed import TiedEmbed

__all__ = [
    "Attention",
    "BatchNorm",
    "Conv",
    "LayerNorm",
    "LayerScale",
    "PostNorm",
    "SqueezeExcite",
    "TiedEmbed",
    "adaptive_avg_pool",
    "avg_pool",
    "conv",
    "global_avg_pool",
    "l2_normalize",
    "max_pool",
]
