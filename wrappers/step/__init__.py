"""Shapers that answer at once, one published method a file."""
