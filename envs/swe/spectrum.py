"""Where a fault may be, by which tests run which lines: spectrum-based fault localisation.

Ochiai's coefficient (Abreu, Zoeteweij & van Gemund 2007, "On the accuracy of spectrum-based fault localization", eq. 4): a
line's suspicion is ``failed / sqrt(all_failed * (failed + passed))``, with how many failing and passing tests run it.
"""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ...sandboxes import Sandbox
from . import grade
from .task import Task

PLUGIN = Path(__file__).parent / "inside" / "milepost_lines.py"
Suspicion = Mapping[str, Mapping[int, float]]
"""Path -> line (from 1) -> suspicion in (0, 1]; lines that no failing test runs are left out."""


def suspicion(box: Sandbox, task: Task) -> dict[str, dict[int, float]]:
    """Runs a task's tests as it begins, in a sandbox where its tree stands with its changes.

    Raises:
        SandboxError: the sandbox failed.
    """
    if task.command:  # not pytest: nothing is known of lines
        return {}
    files = list(dict.fromkeys(t.split("::")[0] for t in (*task.instance.fail_to_pass, *task.instance.pass_to_pass)))
    found, _, late = grade.outcomes(box, task, files, also=PLUGIN)
    if late:
        return {}
    try:
        lines = json.loads(box.read(grade.OUT))
    except FileNotFoundError:  # the code under test ended the process
        return {}
    return ochiai(lines, {test: outcome == "passed" for test, outcome in found.items()})


def ochiai(lines: Mapping[str, Mapping[str, list[int]]], passed: Mapping[str, bool]) -> dict[str, dict[int, float]]:
    """Suspicion of each line.

    Args:
        lines: test -> path -> lines that it runs.
        passed: test -> it passed; those of whose lines nothing is known (they failed before they ran) count as failing.
    """
    failed: Counter[tuple[str, int]] = Counter()
    fine: Counter[tuple[str, int]] = Counter()
    for test, ok in passed.items():
        (fine if ok else failed).update({(p, n) for p, seen in lines.get(test, {}).items() for n in seen})
    every = sum(not ok for ok in passed.values())
    out: dict[str, dict[int, float]] = {}
    for (path, line), n in sorted(failed.items()):
        out.setdefault(path, {})[line] = n / math.sqrt(every * (n + fine[path, line]))
    return out


def moved(of: Mapping[int, float], before: str, now: str) -> dict[int, float]:
    """Suspicion by the lines of a changed text; a changed block has the most of what it replaced."""
    if before == now:
        return dict(of)
    out: dict[int, float] = {}
    old, new = before.splitlines(), now.splitlines()
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        most = max((of.get(n, 0.0) for n in range(a + 1, b + 1)), default=0.0)
        for k in range(d - c):
            value = of.get(a + k + 1, 0.0) if tag == "equal" else most
            if value:
                out[c + k + 1] = value
    return out
