"""Exports: what other libraries load, or a program."""
