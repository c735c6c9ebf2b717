"""Runs on other machines: Cloud TPUs, Kubernetes, Slurm, SkyPilot, and machines that are reached by ssh."""
