"""Kinds of input. Each is a folder or file with all that is known of it: readers, transforms, preprocessing."""
