"""Tests on an agent's changes, where the agent cannot reach: a sandbox of the grader's own with the pristine tree.

Only the agent's text gets there, and only of files that it may change: no process, cache, byte code, configuration or test of
the agent's. Each test's outcome is counted as it is told, so that leaving early proves nothing; a test that is not told of
failed. Tests of our own that must fail run among the others: where they pass, somebody has laid hands on the checking itself.
Source that reaches for the machinery of tests is refused before it runs.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ...sandboxes import Sandbox
from .cache import Cache, Graded
from .guard import grips
from .task import Task

PLUGIN = Path(__file__).parent / "inside" / "milepost_report.py"
LIBRARY = "/opt/library"  # where the distributions that tests need are seen inside
ASIDE = "/tmp/milepost"  # of the grader's sandbox: the plugin
OUT = f"{ASIDE}/out.json"


def key(task: Task, changes: Mapping[str, str | None], final: bool) -> str:
    """What a result depends on: the task, the changed files, the tests, the Python."""
    hidden = dict(task.hidden) if final else {}
    parts: list[object] = [
        task.instance.row(),
        sorted(changes.items()),
        sorted(hidden.items()),
        sorted(task.changes.items()),
    ]
    parts += [list(task.command), sys.version_info[:2]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def canary() -> tuple[str, str, dict[str, str]]:
    """A file of tests whose outcomes are known: its name, its text, test -> outcome."""
    name = f"test_{secrets.token_hex(6)}.py"
    lines, known = [], {}
    for _ in range(4):
        a, b, test = secrets.randbelow(10**6), secrets.randbelow(10**6), f"test_{secrets.token_hex(4)}"
        passes = secrets.randbelow(2) == 0
        lines.append(f"def {test}():\n    assert {a} + {b} == {a + b + (0 if passes else 1)}\n")
        known[f"{name}::{test}"] = "passed" if passes else "failed"
    test = f"test_{secrets.token_hex(4)}"
    lines.append(f"def {test}():\n    raise ValueError({secrets.token_hex(4)!r})\n")
    known[f"{name}::{test}"] = "failed"
    return name, "\n\n".join(lines), known


def read(output: str, word: str) -> tuple[dict[str, str], dict[str, str]]:
    """Test -> outcome, and test -> what it said, from what the plugin told; a later failure of a test counts."""
    outcomes: dict[str, str] = {}
    said: dict[str, str] = {}
    for line in output.split("\n"):
        if not line.startswith(word):
            continue
        try:
            test, outcome, text = json.loads(line[len(word) :])
        except ValueError:
            continue
        if outcomes.get(test, "passed") == "passed":
            outcomes[test] = outcome
            if text:  # an address is another in every run
                said[test] = re.sub(r"0x[0-9a-f]{6,}", "0x...", text)
    return outcomes, said


def judge(outcomes: Mapping[str, str], said: Mapping[str, str], counted: Iterable[str]) -> tuple[dict[str, bool], str]:
    """Every test that counts -> it passed, and a text for the agent.

    SWE-bench's files have names up to their first blank: such a name stands for all tests that begin so.
    """
    cut: dict[str, str] = {}
    for test, outcome in outcomes.items():
        name = (test.split() or [test])[0]
        if cut.get(name, "passed") == "passed":
            cut[name] = outcome
    tests = {t: outcomes.get(t, cut.get(t)) == "passed" for t in counted}
    failed = [t for t, ok in tests.items() if not ok]
    lines = [f"{len(tests) - len(failed)} of {len(tests)} tests pass."]
    shown = [t for t in said if outcomes.get(t) != "passed"][:3]
    for t in shown:
        lines.append(f"\n{t}\n{said[t].strip()[-900:]}")
    others = [t for t in failed if t not in shown]
    if others:
        more = f" and {len(others) - 15} more" if len(others) > 15 else ""
        lines.append("\nAlso failing: " + ", ".join(others[:15]) + more)
    return tests, "\n".join(lines)


def run(
    sandbox: Callable[[], Sandbox],
    task: Task,
    changes: Mapping[str, str | None],
    pristine: Mapping[str, str],
    final: bool,
    cache: Cache,
) -> Graded:
    """The tests on an agent's changes.

    Args:
        sandbox: gives the grader's own sandbox over the task's tree, where no result is known; it is restored first.
        task: the task.
        changes: path -> text (None: deleted) of files that the agent may change and did.
        pristine: path -> text of those files before.
        final: with the hidden tests, for the outcome.
        cache: of results.

    Raises:
        SandboxError: the sandbox failed, not the code in it.
    """
    which = key(task, changes, final)
    known = cache.get(which)
    if known is not None:
        return Graded(*known)
    counted = [*task.instance.fail_to_pass, *task.instance.pass_to_pass]
    nothing = dict.fromkeys(counted, False)
    for path, text in changes.items():
        grip = grips(pristine.get(path, ""), text or "")
        if grip:
            graded = Graded(nothing, f"The change of {path} is refused: it takes hold of {grip}.", f"{path}: {grip}")
            cache.put(which, graded)
            return graded
    box = sandbox()
    try:
        begin(box, {**task.changes, **changes, **(task.hidden if final else {})})
    except OSError as e:  # such as more than the disk holds
        return Graded(nothing, f"The changes cannot be applied: {e.strerror}.", "")
    graded = _command(box, task, counted) if task.command else _pytest(box, task, counted)
    cache.put(which, graded)
    return graded


def begin(box: Sandbox, changes: Mapping[str, str | None]) -> None:
    """Puts a sandbox to its start, with files written and (None) removed.

    Raises:
        OSError: a file cannot be written.
    """
    box.restore()
    for path, text in changes.items():
        if text is not None:
            box.write(path, text)
        else:
            box.run(["rm", "-f", "--", path])


def _command(box: Sandbox, task: Task, counted: list[str]) -> Graded:
    """The task's own command, read by its own parser."""
    done = box.run(list(task.command))
    assert task.parser is not None
    told = task.parser(done.stdout + done.stderr)
    found = {t: "passed" if o.lower() in ("passed", "xfail") else o for t, o in told.items()}
    return Graded(*judge(found, {}, counted), "")


def outcomes(
    box: Sandbox, task: Task, files: list[str], mine: str = "", also: Path | None = None
) -> tuple[dict[str, str], dict[str, str], bool]:
    """Test -> outcome and test -> what it said, of a run of pytest on files; and whether the time was over.

    Args:
        box: where the tree stands.
        task: roots from which the tests import.
        files: test files.
        mine: one more file, put among the others.
        also: one more plugin, told by ``MILEPOST_OUT`` to write into ``OUT``.
    """
    word = secrets.token_hex(16)
    box.write(f"{ASIDE}/milepost_report.py", PLUGIN.read_text())
    at = secrets.randbelow(len(files) + 1)
    listed = [*files[:at], mine, *files[at:]] if mine else files
    argv = ["python3", "-B", "-m", "pytest", "-q", "-p", "milepost_report", "-p", "no:cacheprovider", "-o", "addopts="]
    argv += ["--rootdir", box.workdir, *listed]
    if also is not None:
        box.write(f"{ASIDE}/{also.name}", also.read_text())
        argv[4:4] = ["-p", also.stem]
    path = ":".join([ASIDE, LIBRARY, *(f"{box.workdir}/{r}" for r in task.roots)])
    env = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MILEPOST_OUT": OUT}
    done = box.run(argv, env=env, stdin=word)
    return *read(done.stdout, word), done.timed_out


def _pytest(box: Sandbox, task: Task, counted: list[str]) -> Graded:
    """Runs pytest with our plugin, and with tests of known outcome among the others."""
    name, text, known = canary()
    box.write(name, text)
    found, said, late = outcomes(box, task, list(dict.fromkeys(t.split("::")[0] for t in counted)), name)
    wrong = [t for t, outcome in known.items() if t in found and found[t] != outcome]
    tests, shown = judge(found, {t: s for t, s in said.items() if t not in known}, counted)
    if late:
        shown += "\n\nThe tests did not end in time."
    if "" in found:
        return Graded(dict.fromkeys(counted, False), shown, "a test file was changed while the tests ran")
    if wrong:
        return Graded(dict.fromkeys(counted, False), shown, "tests that must fail did not: the checking was changed")
    return Graded(tests, shown, "")
