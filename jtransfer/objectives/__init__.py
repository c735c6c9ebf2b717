"""What is minimised: task losses by name, and the mean that padding cannot change."""

from jtransfer.objectives.losses import create, focal, mean, sigmoid_cross_entropy, softmax_cross_entropy

__all__ = ["create", "focal", "mean", "sigmoid_cross_entropy", "softmax_cross_entropy"]
