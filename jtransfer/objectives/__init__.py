"""What is minimised: task losses by name, and the mean that padding cannot change."""

from jtransfer.objectives.losses import create, focal, mean, sigmoid_cross_entropy, softmax_cross_entropy
from jtransfer.objectives.text import contrastive, counted, huber, mse

__all__ = [
    "contrastive",
    "counted",
    "create",
    "focal",
    "huber",
    "mean",
    "mse",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
