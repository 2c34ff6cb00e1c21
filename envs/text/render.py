"""Text drawn as a picture, so that RecordVideo works on text worlds."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np


def draw(text: str, width: int = 640, height: int = 480, columns: int = 88) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """``(height, width, 3)`` uint8 with the last lines of ``text`` that fit.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as e:
        raise ImportError("render_mode='rgb_array' needs Pillow: pip install 'milepost[text]'") from e
    image = Image.new("RGB", (width, height), (24, 24, 28))
    lines = [part for line in text.splitlines() for part in (textwrap.wrap(line, columns) or [""])]
    shown = lines[-((height - 16) // 16) :]
    pen = ImageDraw.Draw(image)
    for i, line in enumerate(shown):
        # the built-in bitmap font has Latin-1 letters only
        pen.text((8, 8 + 16 * i), line.encode("latin-1", "replace").decode("latin-1"), fill=(230, 230, 220))
    return np.asarray(image, np.uint8)
