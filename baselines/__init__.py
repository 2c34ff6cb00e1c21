"""Baseline agents and trainers, one file each; import them from their files."""

if __name__ != "milepost.baselines":
    raise ImportError("import this folder as milepost.baselines")
