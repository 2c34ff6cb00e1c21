"""Errors that environments raise."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any


class InfraError(RuntimeError):
    """The infrastructure failed, not the agent: a crashed interpreter, an unreachable sandbox.

    Environments turn it into a truncated step with ``info["invalid"] = True`` that every trainer drops and counts; it is
    never a reward of 0.
    """


def one_of(what: str, value: Any, allowed: Iterable[Any]) -> ValueError:
    """``"what is 'x'; allowed are 'a', 'b' (did you mean 'a'?)"``."""
    known = list(allowed)
    close = difflib.get_close_matches(str(value), [str(k) for k in known], 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ValueError(f"{what} is {value!r}; allowed: {', '.join(map(repr, known)) or 'nothing'}{hint}")


def settings(cls: type) -> list[str]:
    """Names of the settings that a class and its bases take, by keyword."""
    own = [vars(base)["__init__"] for base in cls.__mro__ if inspect.isfunction(vars(base).get("__init__"))]
    found = [p for f in own for p in inspect.signature(f).parameters.values()]
    return list(dict.fromkeys(p.name for p in found if p.kind is p.KEYWORD_ONLY))
