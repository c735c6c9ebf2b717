"""Runs: from a config to what is trained, and a run's folder, which `open` reads."""

from jtransfer.runs.comparison import Compared, compare
from jtransfer.runs.open import StoredRun, open

__all__ = ["Compared", "StoredRun", "compare", "open"]
