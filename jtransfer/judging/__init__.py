"""Whether the transfer helped: a run's model against the same one from scratch, and against trivial baselines."""
