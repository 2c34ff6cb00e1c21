"""Tasks from working code: bugs are put in, and those kept that some test notices and others do not.

Everything of the code under test runs in a sandbox; here it is only text.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...sandboxes import Limits, Provider, Sandbox
from . import diff, mutate, plan, spectrum
from .grade import outcomes
from .guard import is_test
from .instance import Instance
from .task import Task


def sources(tree: str) -> tuple[dict[str, str], list[str]]:
    """Path -> text of the source files of a tree, and the paths of its test files."""
    code: dict[str, str] = {}
    tests: list[str] = []
    for folder, inner, names in os.walk(tree):
        inner[:] = sorted(d for d in inner if not d.startswith(".") and d != "__pycache__")
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), tree)
            if not name.endswith(".py"):
                continue
            if is_test(path):
                tests += [path] if name.startswith("test_") or name.endswith("_test.py") else []
            else:
                with open(os.path.join(folder, name), encoding="utf-8", newline="") as f:
                    code[path] = f.read()
    return code, tests


def statement(name: str, said: Mapping[str, str], failing: Sequence[str]) -> str:
    """What is wrong as the failing tests see it; nothing of where or why."""
    lines = [f"Something in `{name}` does not work as its tests want it: {len(failing)} of them fail."]
    for test in failing[:4]:
        seen = [line[1:].strip() for line in said.get(test, "").splitlines() if line.startswith("E ")]
        lines.append(f"- {test}: {'; '.join(seen[:2])[:300] or 'it fails'}")
    if len(failing) > 4:
        lines.append("- " + ", ".join(failing[4:24]))
    return "\n".join(lines)


def place(box: Sandbox, task: Task, code: Mapping[str, str], chosen: Mapping[str, Sequence[mutate.Site]]) -> int | None:
    """Where in the order of ``plan.repairs`` the last of the repairs stands that undo the bugs, from 0; None where one is none.

    Args:
        box: where the code with the bugs stands.
        task: begins with that code.
        code: path -> text without the bugs.
        chosen: path -> the bugs.
    """
    wanted = []
    for path, found in chosen.items():
        for site in found:
            others = [s for s in found if s is not site]
            before = mutate.apply(code[path], others) if others else code[path]
            repair = mutate.inverse(task.changes[path] or "", before, among=mutate.sites)
            if repair is None:
                return None
            wanted.append((path, repair))
    sources = {**code, **{p: t for p, t in task.changes.items() if t is not None}}
    ranked = plan.repairs(sources, spectrum.suspicion(box, task), task.instance.problem_statement)
    order = [(r.path, r.site) for r in ranked]
    return max(order.index(w) for w in wanted) if all(w in order for w in wanted) else None


def inject(
    provider: Provider,
    tree: str,
    name: str,
    *,
    counts: Mapping[int, int],
    seed: int = 0,
    roots: Sequence[str] = (".",),
    needs: Sequence[str] = ("pytest",),
    only: Sequence[str] | None = None,
    limits: Limits | None = None,
) -> Iterator[Instance]:
    """Tasks over one tree.

    A task is kept when at least one test that passed twice without the bugs fails with them and at least one still passes.

    Args:
        provider: sees the tests' library at ``grade.LIBRARY``.
        tree: directory with sources and tests.
        name: of the tree in ids and statements.
        counts: number of bugs -> tasks wanted with so many.
        seed: of all choices; one task does not move another.
        roots: directories from which the tests import.
        needs: distributions that the tests import.
        only: source files to put bugs into; all by default.
        limits: of the sandbox.

    Raises:
        ValueError: the tree has no test file, or fewer than two tests that pass.
        SandboxError: the sandbox failed.
    """
    code, tests = sources(tree)
    code = {p: t for p, t in code.items() if only is None or p in only}
    if not code or not tests:
        raise ValueError(f"{tree} has {len(code)} source files and {len(tests)} test files; both are needed")
    empty = Instance(name, name, "", "", "", "", (), ())
    task = Task(empty, tree, roots=tuple(roots), needs=tuple(needs))
    with provider.create(tree, limits=limits) as box:
        once = outcomes(box, task, tests)[0]
        box.restore()
        again = outcomes(box, task, tests)[0]
        stable = [t for t in once if once[t] == again.get(t) == "passed"]
        if len(stable) < 2:
            raise ValueError(f"{name}: {len(stable)} tests pass twice; allowed: two or more")
        seen: set[str] = set()
        for bugs, wanted in counts.items():
            kept = 0
            for i in range(wanted * 6):
                if kept == wanted:
                    break
                rng = np.random.default_rng([seed, zlib.crc32(name.encode()), bugs, i])
                try:
                    chosen = mutate.choose(code, bugs, rng)
                except ValueError:
                    break
                per_file: dict[str, list[mutate.Site]] = {}
                for path, site in chosen:
                    per_file.setdefault(path, []).append(site)
                buggy = {p: mutate.apply(code[p], found) for p, found in per_file.items()}
                patch = diff.make(buggy, {p: code[p] for p in buggy})
                if patch in seen:
                    continue
                seen.add(patch)
                box.restore()
                for path, text in buggy.items():
                    box.write(path, text)
                found, said, late = outcomes(box, task, tests)
                failing = sorted(t for t in stable if found.get(t) != "passed")
                if late or not failing or len(failing) == len(stable):
                    continue
                kept += 1
                commit = hashlib.sha256(patch.encode()).hexdigest()[:40]
                extra = {"tree": os.path.basename(os.path.normpath(tree)), "bugs": bugs, "roots": list(roots)}
                extra |= {"needs": list(needs), "families": [site.family for _, site in chosen]}
                others = tuple(sorted(set(stable) - set(failing)))
                label = f"{re.sub(r'[^A-Za-z0-9_.]+', '-', name)}-{bugs}-{i}"
                said_wrong = statement(name, said, failing)
                made = Instance(label, name, commit, said_wrong, patch, "", tuple(failing), others, extra)
                buggy_task = Task(made, tree, buggy, roots=tuple(roots), needs=tuple(needs))
                yield replace(made, extra=extra | {"place": place(box, buggy_task, code, per_file)})
