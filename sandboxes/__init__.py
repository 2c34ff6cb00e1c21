"""Sandboxes in which code from a model runs (they arrive with the software-engineering environments)."""

if __name__ != "milepost.sandboxes":
    raise ImportError("import this folder as milepost.sandboxes")
