"""Shapers that compare sibling episodes and give advantages, one published method a file."""
