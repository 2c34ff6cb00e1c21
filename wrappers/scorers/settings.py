"""One check, and one sentence, for every number among the settings."""

from __future__ import annotations

import math
from typing import Any


def check(
    what: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    whole: bool = False,
    none: bool = False,
) -> None:
    """Is this number allowed?

    Args:
        what: whose setting it is.
        name: of the setting.
        value: as it was given; True and False are no numbers.
        low: smallest allowed.
        high: largest allowed.
        whole: only whole numbers.
        none: None is allowed too.

    Raises:
        ValueError: it is none, not finite, or outside; names the setting and what is allowed.
    """
    if none and value is None:
        return
    kind = (int,) if whole else (int, float)
    number = isinstance(value, kind) and not isinstance(value, bool) and -math.inf < value < math.inf
    if not number or not low <= value <= high:
        said = "a whole number" if whole else "a number"
        said += f" from {low:g}" if low > -math.inf else ""
        said += f" to {high:g}" if high < math.inf else ""
        raise ValueError(f"{what}: {name} is {value!r}; allowed: {said}{' or None' if none else ''}")
