"""Batch normalisation over NHWC feature maps."""

import flax.linen as nn


class BatchNorm(nn.BatchNorm):
    """Flax's `BatchNorm`: same parameters `scale`, `bias`, same statistics `mean`, `var`, same arguments.

    Note that `momentum` is 1 − PyTorch's, and that the running variance is the biased one, as everywhere in Flax.
    """
