"""Which model a checkpoint is of: its own manifest, the files beside it, its names and shapes."""
