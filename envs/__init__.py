"""The environments; ``registry.py`` is the table of ids."""

if __name__ != "milepost.envs":
    raise ImportError("import this folder as milepost.envs")
