"""Weights in and out: any public checkpoint becomes a tree of variables, with proof, and goes back."""

from jtransfer.weights.load import load
from jtransfer.weights.report import Report
from jtransfer.weights.restore import class_names, describe, restore, sides
from jtransfer.weights.save import save, to_foreign
from jtransfer.weights.source import resolve

__all__ = ["Report", "class_names", "describe", "load", "resolve", "restore", "save", "sides", "to_foreign"]
