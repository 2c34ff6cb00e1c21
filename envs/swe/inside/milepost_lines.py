"""A pytest plugin that notes which lines of which sources each test runs, into the file that ``MILEPOST_OUT`` names."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

_root = os.getcwd() + os.sep
_lines: dict[str, dict[str, list[int]]] = {}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: Any) -> Iterator[None]:
    """Follows the call of one test, in its own thread."""
    seen: set[tuple[str, int]] = set()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line(frame, event, _) if frame.f_code.co_filename.startswith(_root) else None

    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(None)
    found: dict[str, list[int]] = {}
    for path, number in sorted(seen):
        found.setdefault(path[len(_root) :], []).append(number)
    _lines[item.nodeid] = found


def pytest_sessionfinish() -> None:
    """All of them, test -> file -> lines."""
    with open(os.environ["MILEPOST_OUT"], "w", encoding="utf-8") as f:
        json.dump(_lines, f)
