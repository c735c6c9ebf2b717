"""A model family, and the names that its weights have in torch."""

import flax.linen as nn

from jtransfer.weights.mapping import Map, Scheme, Transform, batch_norm, dense

conv1d = Transform(lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0))  # [out, in, k] ↔ [k, in, out]


class SignalNet(nn.Module):
    """A convolution, batch norm, dropout, the mean over time, and a dense layer: [B, n, 1] → [B, num_classes]."""

    num_classes: int = 2
    width: int = 8

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(self.width, (9,), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes, name="head")(x.max(1))


def schemes(model):
    """The names of `torch.nn`: modules `conv`, `norm` and `head`."""
    rows = (
        Map("conv.weight", "conv/kernel", conv1d),
        Map("conv.bias", "conv/bias"),
        *batch_norm("norm", "norm"),
        *dense("head", "head"),
    )
    return (Scheme("torch", rows),)
