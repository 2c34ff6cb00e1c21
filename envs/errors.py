"""Errors that environments raise."""

from __future__ import annotations

import difflib
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
