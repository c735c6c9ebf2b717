"""Vectors of numbers: their readers (arrays, tables, sets of scikit-learn), and their standardisation."""
