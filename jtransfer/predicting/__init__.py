"""Predictions for what a user gives, from files to files: what is read, which columns are written, and in parts."""
