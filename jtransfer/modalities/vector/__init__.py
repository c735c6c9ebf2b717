"""Vectors: readers of arrays, tables and scikit-learn; standardisation by statistics that travel with the run."""
