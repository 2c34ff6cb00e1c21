"""The command line: ``milepost`` or ``python -m milepost``."""
