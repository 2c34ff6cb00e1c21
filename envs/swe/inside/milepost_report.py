"""A pytest plugin that says how each test went, line by line, to whoever knows the word on standard input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def _open() -> Callable[[str, str, str], None]:
    word, out = sys.stdin.readline().strip(), os.dup(1)

    def tell(test: str, outcome: str, text: str) -> None:
        os.write(out, ("\n" + word + json.dumps([test, outcome, text]) + "\n").encode("utf-8", "replace"))

    return tell


def _tests() -> dict[str, bytes]:
    """Test files and what they need, before any other code has run."""
    found = {}
    for folder, _, names in os.walk(os.getcwd()):
        inside = bool({"test", "tests", "testing"} & set(folder.split(os.sep)))
        for name in names:
            if name.endswith(".py") and (inside or name.startswith(("test_", "conftest")) or name.endswith("_test.py")):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and os.access(path, os.R_OK):
                    with open(path, "rb") as f:
                        found[path] = f.read()
    return found


def _changed(path: str, was: bytes) -> bool:
    try:
        with open(path, "rb") as f:
            return f.read() != was
    except OSError:
        return True


_tell = _open()
_before = _tests()


def pytest_collectstart(collector: Any, _tell: Any = _tell, _before: Any = _before) -> None:
    """Each test file is still what it was when it is about to be read, though code of the agent's may have run."""
    path = str(getattr(collector, "path", ""))
    if path in _before and _changed(path, _before[path]):
        _tell("", "tampered", path)


def pytest_collection_finish(session: Any, _tell: Any = _tell, _before: Any = _before) -> None:
    """So are they all when every one has been read."""
    for path, was in _before.items():
        if _changed(path, was):
            _tell("", "tampered", path)


def pytest_runtest_logreport(report: Any, _tell: Any = _tell) -> None:
    """A test passes when its call passed and neither its setup nor its teardown failed."""
    text = "" if report.passed else str(getattr(report, "longreprtext", ""))[-1500:]
    if report.when == "call" or not report.passed:
        _tell(report.nodeid, report.outcome if report.when == "call" else "error", text)


def pytest_collectreport(report: Any, _tell: Any = _tell) -> None:
    """A file that cannot be imported fails with all its tests."""
    if report.failed:
        _tell(report.nodeid, "error", str(getattr(report, "longreprtext", ""))[-1500:])


del _tell, _before
