"""Comparisons: a grid over a config, seeds and folds as runs in one folder, and what they say."""

from jtransfer.comparing.compared import Compared, compare

__all__ = ["Compared", "compare"]
