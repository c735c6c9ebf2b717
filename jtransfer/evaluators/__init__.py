"""Evaluators: what a model is measured by during a run, over whole splits of data."""

from jtransfer.evaluators.gather import run

__all__ = ["run"]
