"""Transfer learning for JAX: a model is a chain of named stages, and transfer is a set of statements about it."""
