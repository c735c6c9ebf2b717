"""A run's model behind HTTP: requests that come at the same time share a batch."""
