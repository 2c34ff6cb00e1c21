"""Work in a terminal: Harbor's and Terminal-Bench's task directories, graded on the files that the agent leaves."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ...sandboxes import Provider, Snapshot
from ..errors import InfraError, one_of
from ..text.base import flag
from ..tools.calls import Call
from . import grade, harbor
from .env import SweEnv
from .harbor_grade import Machine, Terminal
from .instance import Instance
from .repo import Repo
from .task import Task

TASKS = Path(__file__).parent / "terminal_tasks"
Grader = Literal["auto", "script", "pytest"]

HELP = """Do the task in the sandbox. Answer with one tool call a turn, as JSON {"name": ..., "arguments": {...}} or as one
```bash block. Tools: bash(command), view(path, start, end), edit(path, old, new), create(path, content),
search(pattern, path), submit(). Nothing but the files in the working directory is kept and looked at in the end."""


class Tasks:
    """Task directories.

    Args:
        path: one, or a directory of them; None for those that come with the package.
        only: names wanted; None for all.
        grader: ``script``, ``pytest`` or ``auto``.
        images: task -> Docker image, "" to make its tree from the Dockerfile in spite of ``docker_image``; None without Docker.
        online: the sandboxes have a network.
        skip_installs: leave out each RUN that installs programs.

    Raises:
        ValueError: a directory is none, a setting is not allowed; names it and what is.
    """

    name = "terminal"

    def __init__(
        self,
        path: str | None,
        only: Sequence[str] | None,
        grader: Grader,
        images: Mapping[str, str] | None,
        online: bool = False,
        skip_installs: bool = False,
    ) -> None:
        if grader not in get_args(Grader):
            raise one_of("grader", grader, get_args(Grader))
        self._folders = {f.name: f for f in harbor.load(TASKS if path is None else path, only)}
        for name in images or ():
            if name not in self._folders:
                raise one_of("images: a task", name, self._folders)
        self._grader, self._images, self._online = grader, images, online
        self._skip = flag("skip_installs", skip_installs)

    def instances(self) -> Sequence[Instance]:
        """All of them, in the order of their names."""
        rows = []
        for f in self._folders.values():
            about = {} if f.old else f.settings.get("metadata", {})
            rows.append(Instance(f.name, "terminal", "", f.instruction, "", "", (), (), dict(about)))
        return rows

    def task(self, instance: Instance) -> Task:
        """What the environment needs for one.

        Raises:
            ValueError: its Dockerfile cannot be had without Docker, or ``grader`` does not suit it; names the task.
        """
        f = self._folders[instance.instance_id]
        image = "" if self._images is None else self._images.get(f.name, f.image)
        can = {"pytest": bool(f.test_files()), "script": bool(f.script) and not f.old}
        script = can["script"] and not (can["pytest"] and harbor.installs(f.script) and not self._online)
        if self._grader != "auto":
            script = self._grader == "script"
            if not can[self._grader]:
                raise ValueError(f"task {f.name!r} has nothing for grader {self._grader!r}; allowed: 'auto'")
        recipe, needs = f.recipe(build=not image), f.needs
        if self._skip:
            skipped = [s for s in recipe.steps if s.kind == "RUN" and harbor.installs(s.text)]
            needs = tuple(dict.fromkeys([*needs, *(n for s in skipped for n in harbor.packages(s.text))]))
            seen = ":".join(filter(None, [recipe.env.get("PYTHONPATH", ""), grade.LIBRARY]))
            steps = tuple(s for s in recipe.steps if s not in skipped)
            recipe = recipe._replace(steps=steps, env={**recipe.env, "PYTHONPATH": seen})
        fallback = self._grader == "auto" and can["pytest"]
        return Terminal(
            instance, str(f.path), needs=needs, image=image, folder=f, recipe=recipe, script=script, fallback=fallback
        )


class Held:
    """A sandbox's snapshot inside of a saved state: copies share it, the last one frees it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def __deepcopy__(self, memo: Any) -> Held:
        return self

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # the provider may be gone before it
            self.snapshot.close()


class TerminalEnv(SweEnv):
    """Do a task in a terminal; the files that are left are the judge's matter.

    ## Description
    Ten small tasks of our own come with the package and need no download; ``path`` gives directories in Harbor's format or in
    Terminal-Bench's older one. Without an image of the task the sandbox is made from its Dockerfile: WORKDIR, COPY, ADD of
    files, ENV and, without a network, RUN; what more an instruction wants (packages, other stages, files outside WORKDIR) is an
    error that names it. Only the working directory lasts: not ``/tmp``, and no process.

    At ``submit`` the sandbox is forked: no process of the agent's and nothing of its ``/tmp`` is there. Only then the tests
    are put in, under ``/tmp/milepost`` in place of ``/tests`` and ``/logs`` (paths in their text are changed to that; no
    agent can write those). ``auto`` runs ``tests/test.sh`` and reads its reward, but pytest on the test files where the
    script would fetch programs and there is no network, where it writes no reward, and for the older format. Programs in the
    working directory come last on PATH; its ``pytest.py``, ``conftest.py``, ``sitecustomize.py`` and ``usercustomize.py`` are
    not imported; a test file that changes, or a pytest that ends early, earns no outcome. What cannot be kept out, because
    such tests run beside the agent's files: where they start programs of the agent's or import its modules, these can read
    the tests and write the reward; a ``python3 -c`` or ``python3 -`` of a script finds modules of the working directory
    first. Write tests that only read.

    ## Observation Space
    ``Unicode(16384)``: at first the instruction, the tools and the files; then what the last tool said, long outputs without
    their middle.

    ## Action Space
    ``Unicode(65536)``: one tool call a turn, as OpenAI's JSON (``{"name": "bash", "arguments": {"command": "ls"}}``, also
    inside ``tool_calls``) or as one fenced bash block; from Python also a ``Call`` or a mapping. Tools: ``bash``, ``view``,
    ``edit`` (exact replacement), ``create``, ``search``, ``submit``; the tests are hidden, so ``run_tests`` is refused. Paths
    may be absolute. ``info["admissible_actions"]`` lists ``ls -A``, ``submit`` and a view of the directory
    and of each text file.

    ## Rewards
    The terms of the other software-engineering environments, each times its weight: ``format`` (a call in form, 1 a step),
    ``valid_call`` (it worked, 1 a step), ``edited`` (the first change of the files, 1), ``tests`` (at the end: the share of
    tests that pass, or the script's reward where it is between 0 and 1), ``outcome`` (at the end: the level of no submission,
    nothing changed, one that fails, one that passes). ``located`` is always 0: a task names no place. By default the outcome
    alone is paid, 1.0 for a reward of 1 or more, or for tests that all pass.

    ## Episode End
    Terminates with ``submit``; truncates after ``max_steps``, or, with ``info["invalid"]``, when the sandbox is lost or the
    script writes no reward and there are no test files for pytest: never a reward of 0.

    ## Information
    ``score`` of ``max_score`` 1 and ``progress``: the share of tests, 0 before the end. ``tests``: test -> passed, at the end
    (``test.sh`` alone where it does not run pytest). ``tool_calls``; ``subgoals`` (changed a file, submitted, the tests pass);
    at the end ``answer``, the paths that were added, modified and deleted, and ``tampered``, True where somebody laid hands on
    the checking. ``success``, ``valid_action``, ``admissible_actions``, ``messages``. In the reset info ``meta`` with the
    task's name and, with ``expose_reference``, ``reference``: the commands of its solution.

    ## Arguments
    ``path``: a task directory, or a directory of them; ``only``: names wanted. ``grader``: ``auto``, ``script``, ``pytest``.
    ``images``: task -> a Docker image that the engine has, instead of ``docker_image`` in ``task.toml`` ("": the Dockerfile).
    ``skip_installs``: leave out each RUN that installs (apt-get, pip ...), for tasks that are known to do without: Python's
    distributions that it names must be installed here and are seen inside, other programs are not.
    ``sandbox`` (``local``, ``docker``) and ``sandbox_settings``; ``weights``, ``levels``; ``cache``: a SQLite file for results
    by the files' contents and modes, that processes share; ``timeout`` of a command (tests have their task's), ``memory``;
    ``split`` (a quarter of the tasks is ``test``, or as ``split`` in ``[metadata]`` says), ``worlds``, ``max_steps``,
    ``expose_reference``, ``render_mode``. ``reset(options={"task": n})`` picks a task. A snapshot is of the working directory
    alone, and holds in this process, for environments with the same sandbox settings.

    ## Version History
    * v0: first version.

    Raises:
        ValueError: a setting is not allowed or a directory is no task; (``reset``) a Dockerfile that needs Docker; names it.
        InfraError: (``reset``) no sandbox can be made here, or a RUN fails in it; says what to do.
    """

    name = "terminal"

    def __init__(
        self,
        path: str | None = None,
        only: Sequence[str] | None = None,
        grader: Grader = "auto",
        images: Mapping[str, str] | None = None,
        skip_installs: bool = False,
        *,
        sandbox: str = "local",
        sandbox_settings: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        if images and sandbox != "docker":
            raise ValueError(f"images are for sandbox='docker', not {sandbox!r}; allowed: None")
        if settings.pop("candidates", 0):
            raise ValueError("candidates are for repairs of code; allowed: 0")
        online = (sandbox_settings or {}).get("network", "none") != "none"
        source = Tasks(path, only, grader, (images or {}) if sandbox == "docker" else None, online, skip_installs)
        super().__init__(source, sandbox=sandbox, sandbox_settings=sandbox_settings, **settings)
        self._ran = 0  # commands of the solution that were run

    def _terminal(self) -> Terminal:
        assert isinstance(self._task, Terminal) and self._task.folder is not None
        return self._task

    def _repo(self) -> Machine:
        machine = super()._repo()
        assert isinstance(machine, Machine)
        return machine

    def _open(self, provider: Provider) -> Machine:
        return Machine(provider, self._terminal(), self._limits)

    def _begin(self, task: int) -> None:
        super()._begin(task)
        self._ran = 0
        shown = sorted(self._repo().files)
        more = f"\n... and {len(shown) - 60} more" if len(shown) > 60 else ""
        text = self.instance().problem_statement.strip()
        place = f"Files in {self._terminal().recipe.workdir}:"
        self._said = (f"{text}\n\n{HELP}\n\n{place}\n" + "\n".join(shown[:60]) + more)[:16384]

    def _use(self, call: Call) -> tuple[bool, str]:
        if call.name == "run_tests":
            return False, "Error: the tests of this task are hidden; they run once, after submit"
        path = call.arguments.get("path", "")
        if path.startswith("/"):
            workdir = self._terminal().recipe.workdir
            call = Call(call.name, {**call.arguments, "path": posixpath.relpath(posixpath.normpath(path), workdir)})
        solution = self._solution()
        if self._ran < len(solution) and call == solution[self._ran]:
            self._ran += 1
        return super()._use(call)

    def _note_place(self, path: str) -> None:
        """A task names no place."""

    def _run(self, repo: Repo, final: bool) -> str:
        said = super()._run(repo, final)
        assert isinstance(repo, Machine)
        self._terms["tests"] = self._fraction = self._repaired = repo.share
        return said

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "score": self._repaired,
            "max_score": 1.0,
            "progress": 1.0 if self._won else min(max(self._repaired, 0.0), 1.0),
            "subgoals": {
                "a file was changed": self._edited,
                "the work was submitted": self._submitted,
                "the tests pass": self._won,
            },
        }
        return facts | self._told()

    def _listed(self) -> tuple[str, ...]:
        if self._submitted:
            return ()
        with self._infrastructure():
            files = [".", *self._repo().texts[:20]]
        calls = [Call("bash", {"command": "ls -A"}), Call("submit", {}), *(Call("view", {"path": f}) for f in files)]
        return tuple(c.text() for c in calls)

    def patch(self) -> str:
        """The paths that the agent added (A), modified (M) and deleted (D), one a line."""
        return "\n".join(f"{how} {path}" for path, how in self._repo().counted(self._terminal(), {}).items())

    def _solution(self) -> list[Call]:
        folder = self._terminal().folder
        return [] if folder is None else [Call("bash", {"command": c}) for c in folder.solution()]

    def _plan(self) -> list[str]:
        if self._submitted:
            return []
        return [c.text() for c in (*self._solution()[self._ran :], Call("submit", {}))]

    def hint(self, level: str = "solution") -> str:
        """Help for a second attempt: a sentence to put into the prompt.

        Args:
            level: ``solution`` shows the commands of the solution; there is no other.

        Raises:
            ValueError: another level.
        """
        if level != "solution":
            raise one_of("hint level", level, ("solution",))
        return "A solution is:\n" + "\n".join(c.arguments["command"] for c in self._solution())

    # -- states ----------------------------------------------------------------------------------
    def _save(self) -> dict[str, Any]:
        with self._infrastructure():
            files = Held(self._repo().box.snapshot())
        return {**super()._save(), "files": files, "ran": self._ran}

    def _load(self, state: dict[str, Any]) -> None:
        super()._load(state)
        self._ran = state["ran"]
        with self._infrastructure():
            try:
                self._repo().box.restore(state["files"].snapshot)
            except ValueError as e:
                raise InfraError(f"the sandbox of this state is gone: {e}") from None
