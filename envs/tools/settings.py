"""Settings that are passed on to a base class are checked here, so that a wrong one is refused with all that are allowed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..errors import one_of


def known(cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, all of which a class or one of its bases takes.

    Raises:
        ValueError: one is unknown; names it and what is allowed.
    """
    allowed: dict[str, None] = {}
    for base in cls.__mro__:
        own = vars(base).get("__init__")
        for p in inspect.signature(own).parameters.values() if inspect.isfunction(own) else ():
            if p.kind is p.KEYWORD_ONLY:
                allowed[p.name] = None
    for name in settings:
        if name not in allowed:
            raise one_of(f"a setting of {cls.__name__}", name, allowed)
    return dict(settings)
