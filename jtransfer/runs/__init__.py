"""Runs: from a config to what is trained, and a run's folder, which `open` reads."""

from jtransfer.runs.open import StoredRun, open

__all__ = ["StoredRun", "open"]
