"""Shapers that redistribute a return when its episode ends, one published method a file."""
