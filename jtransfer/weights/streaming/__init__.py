"""Checkpoints that are read and written a few megabytes at a time."""
