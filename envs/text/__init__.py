"""Text worlds, one environment a file or folder."""
