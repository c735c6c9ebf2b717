"""Runs: from a config to what is trained, and a run's folder."""
