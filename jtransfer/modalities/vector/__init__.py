"""Vectors of numbers: their readers (arrays, tables, scikit-learn's sets), and what is done to them."""
