"""One model out of several of one architecture: averages, sums of changes, and what these have in common.

    fused = fusion.fuse([one, two, three], "ties", base=base, density=0.2)

A way to fuse is a pure function of the arrays at one path, in a file of its own and with a line in `METHODS`.
"""

from jtransfer.fusion.arithmetic import breadcrumbs, magnitude
from jtransfer.fusion.averaging import average, decaying
from jtransfer.fusion.dare import dare, dare_ties
from jtransfer.fusion.fisher import fisher
from jtransfer.fusion.interpolating import slerp, wise
from jtransfer.fusion.knots import knots
from jtransfer.fusion.method import Method, weighted_sum
from jtransfer.fusion.methods import METHODS, fields_of, fuse_arrays
from jtransfer.fusion.regmean import regmean
from jtransfer.fusion.soup import Soup, greedy
from jtransfer.fusion.stock import stock
from jtransfer.fusion.ties import ties
from jtransfer.fusion.trees import fuse

__all__ = [
    "METHODS",
    "Method",
    "Soup",
    "average",
    "breadcrumbs",
    "dare",
    "dare_ties",
    "decaying",
    "fields_of",
    "fisher",
    "fuse",
    "fuse_arrays",
    "greedy",
    "knots",
    "magnitude",
    "regmean",
    "slerp",
    "stock",
    "ties",
    "weighted_sum",
    "wise",
]
