"""Folders in QuixBugs' format (Lin et al. 2017, doi 10.1145/3135932.3135941) as files, and which of their tests fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ...sandboxes import Limits, Provider, Sandbox
from . import diff
from .build import statement
from .grade import outcomes
from .instance import Instance
from .task import Task

# the tests of QuixBugs ask pytest which of the two programs they are for
CONFTEST = "import pytest\n\npytest.use_correct = False\npytest.run_slow = False\n"
JSON_TEST = """import json
import types
from pathlib import Path

import pytest

from python_programs.{name} import {name}

CASES = [json.loads(line) for line in Path(__file__).with_name("{name}.json").read_text().splitlines() if line.strip()]


def plain(value):
    if isinstance(value, (list, tuple, types.GeneratorType)):
        return [plain(v) for v in value]
    return value


@pytest.mark.parametrize("number", range(len(CASES)))
def test_{name}(number):
    given, expected = CASES[number]
    given = given if isinstance(given, list) else [given]
    got = plain({name}(*given))
    assert got == (pytest.approx(expected) if isinstance(expected, float) else plain(expected))
"""


class Program(NamedTuple):
    """One program with its tests."""

    name: str
    files: dict[str, str]
    """Path -> text of what the agent gets: the faulty program, its helpers and its tests."""
    correct: str
    """Text of the correct program."""
    test: str
    """Path of the test file."""

    @property
    def source(self) -> str:
        """Path of the program."""
        return f"python_programs/{self.name}.py"


def programs(path: str) -> dict[str, Program]:
    """Name -> program, in order of the names, of those that have a correct version and tests.

    Tests of ``python_testcases`` go before ``json_testcases``. All tests go into ``tests/``, where no agent's
    change counts.

    Raises:
        ValueError: the folder is none of that format; names what it lacks.
    """
    root = Path(path)
    faulty, correct = _texts(root / "python_programs"), _texts(root / "correct_python_programs")
    named, cases = _texts(root / "python_testcases"), _texts(root / "json_testcases", ".json")
    found: dict[str, Program] = {}
    beside = {f"tests/python_testcases/{n}.py": t for n, t in named.items() if not n.startswith("test_")}
    if (root / "load_testdata.py").is_file():
        beside["tests/load_testdata.py"] = (root / "load_testdata.py").read_text(encoding="utf-8")
    tested = {n for n in faulty if f"test_{n}" in named or n in cases}
    helpers = {f"python_programs/{n}.py": faulty[n] for n in faulty if n not in tested and not n.endswith("_test")}
    for name in sorted(tested & set(correct)):
        if faulty[name] == correct[name]:
            continue
        files = {f"python_programs/{name}.py": faulty[name], **helpers, "tests/conftest.py": CONFTEST}
        if f"test_{name}" in named:
            test = f"tests/python_testcases/test_{name}.py"
            files |= {**beside, test: named[f"test_{name}"]}
            if name in cases:
                files[f"tests/json_testcases/{name}.json"] = cases[name]
        else:
            test = f"tests/test_{name}.py"
            files |= {test: JSON_TEST.replace("{name}", name), f"tests/{name}.json": cases[name]}
        found[name] = Program(name, files, correct[name], test)
    if not found:
        raise ValueError(
            f"path is {path!r}; allowed: a folder with python_programs/NAME.py, correct_python_programs/NAME.py, and "
            "json_testcases/NAME.json or python_testcases/test_NAME.py"
        )
    return found


def _texts(folder: Path, suffix: str = ".py") -> dict[str, str]:
    return {f.stem: f.read_text(encoding="utf-8") for f in sorted(folder.glob(f"*{suffix}")) if f.is_file()}


def build(provider: Provider, these: Iterable[Program], tree: str, limits: Limits | None = None) -> list[Instance]:
    """An instance for each program that has a test which only the correct version passes.

    Args:
        provider: sees the tests' library at ``grade.LIBRARY``.
        these: programs.
        tree: an empty directory.
        limits: of the sandbox; 10 seconds a run by default, as many faulty programs do not end.

    Raises:
        SandboxError: the sandbox failed.
    """
    found = []
    with provider.create(tree, limits=limits or Limits(timeout=10.0)) as box:
        for p in these:
            right, _, _ = _run(box, tree, p, {**p.files, p.source: p.correct})
            wrong, said, late = _run(box, tree, p, p.files)
            counted = [t for t, o in right.items() if o == "passed"]
            failing = [t for t in counted if wrong.get(t) != "passed"]
            if not failing:
                continue
            about = statement(p.name, said, failing)
            about += "\nThe tests do not end in time." if late else ""
            patch = diff.make({p.source: p.files[p.source]}, {p.source: p.correct})
            commit = hashlib.sha256(json.dumps([p.files, p.correct]).encode()).hexdigest()[:40]
            passing = tuple(t for t in counted if t not in failing)
            found.append(
                Instance(
                    f"quixbugs-{p.name}",
                    "quixbugs",
                    commit,
                    about,
                    patch,
                    "",
                    tuple(failing),
                    passing,
                    {"problem": p.name},
                )
            )
    return found


def _run(
    box: Sandbox, tree: str, program: Program, files: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str], bool]:
    box.restore()
    for path, text in files.items():
        box.write(path, text)
    return outcomes(box, Task(Instance("", "", "", "", "", "", (), ()), tree), [program.test])
