"""Folders of the user's cache: trees that are made once, and an empty one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache(name: str) -> Path:
    """A folder of ours below the user's cache, made where it is missing."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "milepost" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def once(place: Path, fill: Callable[[Path], None]) -> Path:
    """A directory that appears when it is complete, and is filled by whoever comes first.

    Args:
        place: the directory; its parent exists.
        fill: writes into a new directory.
    """
    if place.is_dir():
        return place
    half = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        fill(half)
        half.chmod(0o755)
        half.rename(place)
    except OSError:
        if not place.is_dir():  # no other process was faster
            raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return place


def blank() -> str:
    """An empty directory: the tree of tasks that consist of their changes alone."""
    return str(once(cache("tasks") / "blank", lambda _: None))
