"""Repairing bugs that were put into working code."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import one_of
from ..text.base import whole
from . import diff
from .env import SweEnv
from .instance import Instance, load
from .task import Task

HERE = Path(__file__).parent


class Bugs:
    """Tasks of ``build.inject``: a file of instances, and beside it a folder of trees.

    Args:
        path: directory with ``instances.jsonl`` and ``trees/``; None for the tasks over our own modules.
        bugs: only tasks with so many bugs; None for all.
        listed: only tasks whose bugs so many first candidates undo (``build.place``): those that an agent which chooses
            among them can solve; None for all.

    Raises:
        ValueError: there is no such directory, or no such task in it.
    """

    name = "bugrepair"

    def __init__(self, path: str | None = None, bugs: int | None = None, listed: int | None = None) -> None:
        root = HERE if path is None else Path(path)
        file = root / ("bugrepair.jsonl" if path is None else "instances.jsonl")
        self.trees = root / ("modules" if path is None else "trees")
        if not file.is_file():
            raise ValueError(f"path is {path!r}; allowed: a directory with instances.jsonl and trees/")
        if bugs not in (None, 1, 2, 3):
            raise one_of("bugs", bugs, (None, 1, 2, 3))
        wanted = [i for i in load(file) if bugs is None or i.extra["bugs"] == bugs]
        if listed is not None:
            first = whole("listed", listed, 1, also="None or ")
            wanted = [i for i in wanted if i.extra["place"] is not None and i.extra["place"] < first]
        self._instances = wanted
        self._tasks = functools.lru_cache(512)(self._make)
        self._by_id = {i.instance_id: i for i in self._instances}

    def instances(self) -> Sequence[Instance]:
        """All of them, in the order of the file."""
        return self._instances

    def task(self, instance: Instance) -> Task:
        """The tree with the bugs put in: the reference repair turned round."""
        return self._tasks(instance.instance_id)

    def _make(self, name: str) -> Task:
        instance = self._by_id[name]
        tree = self.trees / instance.extra["tree"]
        undo = diff.reverse(diff.hunks(instance.patch))
        good = {h.path: (tree / h.path).read_text(encoding="utf-8") for h in undo}
        roots, needs = tuple(instance.extra["roots"]), tuple(instance.extra["needs"])
        return Task(instance, str(tree), diff.apply(undo, good), roots=roots, needs=needs)


class BugRepairEnv(SweEnv):
    """Repair a Python module into which bugs were put; its tests are the judge.

    ## Description
    Tasks over twelve small modules of our own come with the package and need no download; ``path`` gives others. One to three
    bugs of thirteen kinds (a wrong comparison, an off-by-one, a dropped guard, swapped arguments, a swallowed exception ...)
    are chosen by chance and kept when some tests notice them and others do not. The agent works in a sandbox with the code
    and its tests, without a network. The grader has a sandbox of its own with the pristine tests: only the agent's changes of
    source files get there.

    ## Observation Space
    ``Unicode(16384)``: at first the problem statement (what the failing tests say), the tools and the files; then what the
    last tool said, long outputs without their middle.

    ## Action Space
    ``Unicode(65536)``: one tool call a turn, as OpenAI's JSON (``{"name": "view", "arguments": {"path": "lru.py"}}``, also
    inside ``tool_calls``) or as one fenced bash block; from Python also a ``Call`` or a mapping. Tools: ``bash``, ``view``,
    ``edit`` (exact replacement), ``create``, ``search``, ``run_tests``, ``submit``. Commands share nothing but files.
    ``info["admissible_actions"]`` lists ``run_tests``, ``submit``, a view of each source and, with ``candidates``, that many
    repairs made from the code alone, those first that lie on the lines which the failing tests run and others do not.

    ``milepost/BugRepair-encoded-v0`` is for agents without words (``RepairRows``): ``Discrete(32)``, the rows ``submit``,
    ``run_tests``, ``undo`` and 29 candidates, with a mask. Its observation is a ``Dict`` of ``observation`` ``(8,)``, which
    tests pass and what was tried, ``actions`` ``(32, 25)``, a row an action, and ``action_mask`` ``(32,)``. Its tasks have one
    bug that one of the candidates undoes. An edit is tested before anything else, and undone if no more tests pass by it; what
    was tried and did not help is not offered again. The limit is 36 steps, twelve tries.

    ## Rewards
    Six terms, each times its weight: ``format`` (a call in form, 1 a step), ``valid_call`` (it worked, 1 a step), ``located``
    (the first look at a file of the fault, 1), ``edited`` (the first change that counts, 1), ``tests`` (change of the share
    of passing tests when they run), ``outcome`` (at the end: the level of no submission, an empty patch, one that fails, one
    that passes). By default the outcome alone is paid, 1.0 for a repair. ``milepost/BugRepair-dense-v0`` pays all; it can be
    hacked, which is what the gate of G-RA is for.

    ## Episode End
    Terminates with ``submit``; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox is lost.

    ## Information
    ``score`` and ``max_score`` count the failing tests that pass now; ``progress`` is their share when the tests last ran, 1
    after a repair. ``tests``: test -> passed, at steps at which tests ran. ``tool_calls``; ``subgoals`` (looked at a file of
    the fault, changed a source, the failing tests pass, submitted); at the end ``answer``, the patch that counted, and
    ``tampered``, True where somebody laid hands on the checking. ``success``, ``valid_action``, ``admissible_actions``,
    ``messages``. In the reset info ``meta`` with the instance and, with ``expose_reference``, ``reference``: the oracle's
    calls. ``env.unwrapped.hint("file" | "function" | "patch")`` gives a sentence for guided retries.

    ## Arguments
    ``path``: a directory with ``instances.jsonl`` (SWE-bench's format) and ``trees/``, such as ``milepost swe build`` makes.
    ``bugs``: only tasks with so many; ``listed``: only those whose repair is among so many first candidates.
    ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``; ``weights``, ``levels``; ``candidates``; ``cache``: a SQLite
    file for test results that processes share; ``timeout``, ``memory``; ``split``, ``worlds``, ``max_steps``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a task.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
        InfraError: (``reset``) no sandbox can be made here; says what to do.
    """

    name = "bugrepair"

    def __init__(
        self, path: str | None = None, bugs: int | None = None, listed: int | None = None, **settings: Any
    ) -> None:
        super().__init__(Bugs(path, bugs, listed), **settings)
