"""Sphinx settings: Markdown pages, most of them written by generate.py."""

project = "Milepost"
author = "The Milepost developers"
copyright = "2026, The Milepost developers"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "README.md"]
html_theme = "furo"
html_title = "Milepost"
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository outside docs/
