"""What the software-engineering environments share: tools, observations, reward terms, states."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...sandboxes import Limits, Provider, SandboxError, SandboxLost
from ..errors import InfraError, one_of
from ..text.base import TEST, Split, TextEnv
from ..text.spaces import Unicode
from ..tools.calls import Call
from . import actions, diff, library, plan, spectrum
from .actions import BadAction
from .cache import Cache
from .grade import LIBRARY
from .guard import may_change
from .instance import Instance
from .repo import Repo, borrow, give
from .task import Source, Task

TERMS = ("format", "valid_call", "located", "edited", "tests", "outcome")
LEVELS = ("no_submit", "empty", "fails", "passes")
SHOWN = 6000  # characters of a tool's output that the agent sees
OPEN = 3  # repositories that an environment keeps open

HELP = """Repair the repository so that its tests pass. Answer with one tool call a turn, as JSON
{"name": ..., "arguments": {...}} or as one ```bash block. Tools: bash(command), view(path, start, end), edit(path, old, new),
create(path, content), search(pattern, path), run_tests(), submit()."""


class SweEnv(TextEnv):
    """Base of the software-engineering environments: a repository, tools, tests.

    An action is one tool call: OpenAI's JSON (``{"name": ..., "arguments": {...}}``, also inside ``tool_calls``), one fenced
    bash block, or in Python a ``Call`` or a mapping. Commands do not share a shell, so that the same actions from a snapshot
    give the same observations: nothing but files lasts.

    Args:
        source: the collection of tasks.
        sandbox: provider: ``local`` or ``docker``.
        sandbox_settings: of the provider.
        weights: reward term -> its weight; those that are not named have 0.
        levels: what ``outcome`` pays for no submission, an empty patch, one that fails, one that passes.
        candidates: candidate repairs listed in ``admissible_actions``, made from the code alone, the most suspicious first:
            the tests are run once to see which lines the failing ones run.
        cache: a SQLite file for test results that processes share; "" for this process alone.
        timeout: seconds that a command or a run of the tests may take.
        memory: bytes that a sandbox may use.

    Raises:
        ValueError: a setting is not allowed; names it and what is.
        InfraError: (``reset``) the provider cannot work here; says what to do.
    """

    name = "swe"
    reward_terms = TERMS

    def __init__(
        self,
        source: Source,
        *,
        sandbox: str = "local",
        sandbox_settings: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        levels: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
        candidates: int = 0,
        cache: str = "",
        timeout: float = 60.0,
        memory: int = 2**30,
        split: Split = "train",
        worlds: int | None = None,
        max_steps: int = 30,
        expose_reference: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            split=split,
            worlds=worlds,
            max_steps=max_steps,
            expose_reference=expose_reference,
            max_length=16384,
            render_mode=render_mode,
        )
        self.action_space = Unicode(65536)
        self.source = source
        self.weights = dict.fromkeys(TERMS, 0.0) | {"outcome": 1.0} | dict(weights or {})
        if unknown := set(self.weights) - set(TERMS):
            raise one_of("a reward term", unknown.pop(), TERMS)
        if len(levels) != len(LEVELS) or list(levels) != sorted(levels):
            raise ValueError(f"levels is {levels!r}; allowed: four numbers that do not fall, for {', '.join(LEVELS)}")
        self.levels = tuple(float(v) for v in levels)
        if isinstance(candidates, bool) or not isinstance(candidates, int) or not 0 <= candidates <= 1000:
            raise ValueError(f"candidates is {candidates!r}; allowed: a whole number from 0 to 1000")
        self.candidates = candidates
        every = [i for i in source.instances() if i.held_out == (split == "test")]
        if not every:
            raise ValueError(f"{source.name} has no task in split {split!r}")
        self._instances = every[: worlds or len(every)]
        self._limits = Limits(timeout=timeout, memory=memory)
        self._sandbox = sandbox, dict(sandbox_settings or {})
        self._borrowed: dict[str, Any] = {}
        self._repos: OrderedDict[tuple[str, str], Repo] = OrderedDict()
        self._results = Cache(cache or None)
        self._task: Task | None = None
        self._changes: dict[str, str | None] = {}
        self._said = ""
        self._calls: tuple[dict[str, Any], ...] = ()
        self._tests: dict[str, bool] | None = None
        self._fraction = self._repaired = 0.0
        self._located = self._edited = self._submitted = self._won = False
        self._tamper = ""
        self._terms: dict[str, float] = {}

    # -- tasks -----------------------------------------------------------------------------------
    def tasks(self) -> range:
        """The tasks of this split."""
        first = TEST if self.split == "test" else 0
        return range(first, first + len(self._instances))

    def instance(self, task: int | None = None) -> Instance:
        """The instance of a task, of the running one by default."""
        number = self.task if task is None else task
        assert number is not None, "reset first"
        return self._instances[number - self.tasks().start]

    def _title(self, task: int) -> str:
        return self.instance(task).instance_id

    @contextlib.contextmanager
    def _infrastructure(self) -> Iterator[None]:
        try:
            yield
        except SandboxError as e:
            self._drop_repos(lost=isinstance(e, SandboxLost))
            raise InfraError(str(e)) from e

    def _repo(self) -> Repo:
        """The open repository of the running task."""
        assert self._task is not None
        where = self._task.tree, self._task.image
        if where not in self._repos:
            name, settings = self._sandbox
            if name == "local":
                mounts = {LIBRARY: str(library.folder(self._task.needs))}
                settings = {**settings, "mounts": {**mounts, **settings.get("mounts", {})}}
            elif self._task.image:
                settings = {**settings, "image": self._task.image}
            key = json.dumps([name, settings], sort_keys=True)
            if key not in self._borrowed:
                self._borrowed[key] = borrow(name, settings)
            while len(self._repos) >= OPEN:
                self._repos.popitem(last=False)[1].close()
            self._repos[where] = self._open(self._borrowed[key][1])
        self._repos.move_to_end(where)
        return self._repos[where]

    def _open(self, provider: Provider) -> Repo:
        """A repository for the running task."""
        assert self._task is not None
        return Repo(provider, self._task, self._limits)

    def _begin(self, task: int) -> None:
        self._task = self.source.task(self.instance(task))
        self._changes, self._calls, self._tests = {}, (), None
        self._fraction = self._repaired = 0.0
        self._located = self._edited = self._submitted = self._won = False
        self._tamper = ""
        self._terms = dict.fromkeys(TERMS, 0.0)
        with self._infrastructure():
            repo = self._repo()
            repo.begin(self._task, {})
            shown = sorted(f for f in {*repo.files, *self._task.changes} if "/." not in f"/{f}")
        more = f"\n... and {len(shown) - 60} more" if len(shown) > 60 else ""
        self._said = (
            f"{self._task.instance.problem_statement.strip()}\n\n{HELP}\n\nFiles:\n" + "\n".join(shown[:60]) + more
        )
        self._said = self._said[:16384]

    # -- steps -----------------------------------------------------------------------------------
    def step(self, action: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """One tool call, as text, ``Call`` or mapping. A wrong one is answered in the world with ``valid_action = False``.

        Raises:
            TypeError: the action is something else.
            RuntimeError: the episode is over.
        """
        return super().step(actions.dump(action))

    def _read(self, action: str) -> str:
        return action

    def _command(self, command: str) -> bool:
        self._terms = dict.fromkeys(TERMS, 0.0)
        self._tests, self._calls = None, ()
        valid = False
        try:
            call = actions.parse(command)
        except BadAction as e:
            self._said = f"Error: {e}"
            self._terms["format"] = float(e.formed)
        else:
            self._terms["format"] = 1.0
            with self._infrastructure():
                valid, self._said = self._use(call)
            self._calls = ({"name": call.name, "arguments": call.arguments, "ok": valid, "result": self._said},)
        self._terms["valid_call"] = float(valid)
        if self._last and not self._submitted:
            self._terms["outcome"] = self.levels[0]
        for term, weight in self.weights.items():
            self._terms[term] *= weight
        self._feedback = self._said
        return valid

    def _use(self, call: Call) -> tuple[bool, str]:
        """A tool: it worked, and what it said."""
        assert self._task is not None
        repo, a = self._repo(), call.arguments
        if call.name == "bash":
            with repo.watched(self._changes):
                done = repo.box.run(
                    a["command"], timeout=min(float(a.get("timeout", 1e9)), self._limits.timeout) or None
                )
            self._note_edit(repo)
            end = "the time is over" if done.timed_out else f"exit code {done.exit_code}"
            return True, _cut(f"{done.stdout}{done.stderr}".strip() + f"\n[{end}]")
        if call.name == "run_tests":
            return True, self._run(repo, final=False)
        if call.name == "submit":
            return True, self._submit(repo)
        path = posixpath.normpath(a.get("path", "."))
        if path.startswith(("/", "..")):
            return False, f"Error: {path} is outside the repository; paths are relative to its root"
        if call.name == "search":
            done = repo.box.run(["grep", "-rnIE", "--exclude-dir=.git", "-e", a["pattern"], "--", path])
            if done.exit_code > 1:
                return False, f"Error: {done.stderr.strip()[:300]}"
            return True, _cut("\n".join(sorted(done.stdout.splitlines())) or "nothing found")
        self._note_place(path)
        if call.name == "view":
            return self._view(repo, path, a.get("start", 1), a.get("end"))
        return self._write(repo, call.name, path, a)

    def _view(self, repo: Repo, path: str, start: int, end: int | None) -> tuple[bool, str]:
        assert self._task is not None
        try:
            text = repo.read(self._task, path)
        except IsADirectoryError:
            return True, _cut(repo.box.run(["ls", "-1Ap", "--", path]).stdout)
        except OSError as e:
            return False, f"Error: {path}: {e.strerror}"
        lines = text.splitlines()
        last = len(lines) if end is None else min(end, len(lines))
        if not 1 <= start <= max(last, 1):
            return False, f"Error: {path} has lines 1 to {len(lines)}"
        return True, _cut("\n".join(f"{n:5} {line}" for n, line in enumerate(lines[start - 1 : last], start)))

    def _write(self, repo: Repo, tool: str, path: str, a: Mapping[str, Any]) -> tuple[bool, str]:
        assert self._task is not None
        try:
            if tool == "edit":
                before = repo.read(self._task, path)
                if not plan.once(a["old"], before):
                    found = "more than once" if a["old"] and a["old"] in before else "0 times"
                    return False, f"Error: old stands {found} in {path}; it must stand there exactly once"
                text = before.replace(a["old"], a["new"])
            else:
                text = a["content"]
            repo.write(path, text)
        except OSError as e:
            return False, f"Error: {path}: {e.strerror}"
        self._changes[path] = text
        self._note_edit(repo)
        return True, f"{path} is written."

    def _note_place(self, path: str) -> None:
        """The agent looks at a file that the reference repair changes: a reward term may say so once."""
        if not self._located and path in diff.files_of(self.instance().patch):
            self._located, self._terms["located"] = True, 1.0

    def _note_edit(self, repo: Repo) -> None:
        assert self._task is not None
        if not self._edited and repo.counted(self._task, self._changes):
            self._edited, self._terms["edited"] = True, 1.0

    def _run(self, repo: Repo, final: bool) -> str:
        assert self._task is not None
        graded = repo.grade(self._task, self._changes, final, self._results)
        self._tests, self._tamper = dict(graded.tests), graded.tamper
        fraction = sum(graded.tests.values()) / max(1, len(graded.tests))
        broken = self._task.instance.fail_to_pass
        self._repaired = sum(graded.tests[t] for t in broken) / max(1, len(broken))
        self._terms["tests"], self._fraction = fraction - self._fraction, fraction
        return _cut(graded.text)

    def _submit(self, repo: Repo) -> str:
        assert self._task is not None
        self._submitted = True
        if not repo.counted(self._task, self._changes):
            self._terms["outcome"] = self.levels[1]
            return "Submitted: an empty patch."
        said = self._run(repo, final=True)
        assert self._tests is not None
        self._won = bool(self._tests) and all(self._tests.values()) and not self._tamper
        self._terms["outcome"] = self.levels[3 if self._won else 2]
        return "Submitted: all tests pass." if self._won else f"Submitted: not all tests pass.\n{said}"

    # -- facts -----------------------------------------------------------------------------------
    def _look(self) -> str:
        return self._said

    def _facts(self) -> dict[str, Any]:
        assert self._task is not None
        instance, repo = self.instance(), self._repo()
        facts: dict[str, Any] = {
            "score": self._repaired * len(instance.fail_to_pass),
            "max_score": float(len(instance.fail_to_pass)),
            "progress": 1.0 if self._won else self._repaired,
            "subgoals": {
                "a file of the fault was looked at": self._located,
                "a source file is changed": bool(repo.counted(self._task, self._changes)),
                "the failing tests pass": self._repaired == 1.0,
                "a repair was submitted": self._submitted,
            },
        }
        return facts | self._told()

    def _told(self) -> dict[str, Any]:
        """The facts that do not depend on what kind of task it is."""
        told: dict[str, Any] = {
            "success": self._won,
            "over": self._submitted,
            "tool_calls": self._calls,
            "admissible_actions": self._listed(),
            "reward_terms": dict(self._terms),
        }
        if self._tests is not None:
            told["tests"] = dict(self._tests)
        if self._submitted:
            told |= {"answer": self.patch(), "tampered": bool(self._tamper)}
        return told

    def sources(self) -> dict[str, str]:
        """Path -> text, as it is now, of the source files that the agent may change."""
        assert self._task is not None
        repo = self._repo()
        files = {*repo.files, *self._task.changes}
        found = sorted(f for f in files if f.endswith(".py") and may_change(f, files, self._task.roots))
        now = {f: self._changes.get(f, repo.text(self._task, f)) for f in found}
        return {f: text for f, text in now.items() if text is not None}

    def _listed(self) -> tuple[str, ...]:
        """Actions for agents that choose: the tools without arguments, a view of each source, candidate repairs."""
        if self._submitted:
            return ()
        with self._infrastructure():
            sources = self.sources()
        fixed = [Call("run_tests", {}), Call("submit", {})]
        views = [Call("view", {"path": f}) for f in list(sources)[:20]]
        edits = self.repairs(self.candidates)[1] if self.candidates else ()
        return tuple(c.text() for c in (*fixed, *views, *edits))

    def repairs(self, most: int) -> tuple[list[plan.Repair], list[Call]]:
        """The first candidates for the repair from the code as it is and the tests' first run, and the edits that they are.

        Args:
            most: how many.

        Raises:
            InfraError: the sandbox failed.
        """
        assert self._task is not None
        with self._infrastructure():
            sources, repo = self.sources(), self._repo()
            suspicion = {
                path: spectrum.moved(lines, repo.text(self._task, path), sources.get(path, ""))
                for path, lines in repo.suspicion(self._task, self._results).items()
            }
        found = plan.repairs(sources, suspicion, self.instance().problem_statement)[:most]
        return found, [plan.edit(r.path, sources[r.path], *r.site.span, r.site.new) for r in found]

    def patch(self) -> str:
        """The agent's changes that count, as a diff."""
        assert self._task is not None
        repo = self._repo()
        counted = repo.counted(self._task, self._changes)
        before = {p: t for p in counted if (t := repo.text(self._task, p))}
        return diff.make(before, {p: t for p, t in counted.items() if t is not None})

    def reference(self) -> dict[str, str | None]:
        """Path -> text of the files that the reference repair changes, after it."""
        assert self._task is not None
        repo = self._repo()
        changes = diff.hunks(self._task.instance.patch)
        before = {h.path: repo.text(self._task, h.path) for h in changes}
        return diff.apply(changes, {p: t for p, t in before.items() if t})

    def _plan(self) -> list[str]:
        if self._submitted:
            return []
        with self._infrastructure():
            repo = self._repo()
            assert self._task is not None
            now = {p: self._changes.get(p, repo.text(self._task, p)) or "" for p in self.reference()}
            steps = plan.towards(now, self.reference())
        return [c.text() for c in (*steps, Call("submit", {}))]

    def hint(self, level: str = "file") -> str:
        """Help for a second attempt, from the reference: a sentence to put into the prompt.

        Args:
            level: ``file`` names the files, ``function`` also the functions, ``patch`` shows the repair.

        Raises:
            ValueError: another level.
        """
        if level not in ("file", "function", "patch"):
            raise one_of("hint level", level, ("file", "function", "patch"))
        instance = self.instance()
        if level == "patch":
            return f"The repair is:\n{instance.patch}"
        places = ", ".join(diff.files_of(instance.patch))
        if level == "file":
            return f"The fault is in {places}."
        assert self._task is not None
        repo = self._repo()
        names = plan.functions(diff.hunks(instance.patch), lambda p: repo.text(self._task, p) if self._task else "")
        return f"The fault is in {places}, in {', '.join(names) or 'the module itself'}."

    # -- states ----------------------------------------------------------------------------------
    def _save(self) -> dict[str, Any]:
        return {
            "changes": self._changes, "said": self._said, "calls": self._calls, "tests": self._tests,
            "fraction": self._fraction, "repaired": self._repaired, "tamper": self._tamper, "terms": self._terms,
            "flags": (self._located, self._edited, self._submitted, self._won),
        }  # fmt: skip

    def _load(self, state: dict[str, Any]) -> None:
        self._task = self.source.task(self.instance())
        self._changes, self._said, self._calls = state["changes"], state["said"], state["calls"]
        self._tests, self._fraction, self._repaired = state["tests"], state["fraction"], state["repaired"]
        self._tamper, self._terms = state["tamper"], state["terms"]
        self._located, self._edited, self._submitted, self._won = state["flags"]
        with self._infrastructure():
            self._repo().begin(self._task, self._changes)

    def _drop_repos(self, lost: bool = False) -> None:
        for repo in self._repos.values():
            with contextlib.suppress(SandboxError):
                repo.close()
        self._repos.clear()
        for key, _ in self._borrowed.values():
            give(key, lost)
        self._borrowed.clear()

    def close(self) -> None:
        """Closes the sandboxes; nothing is left running."""
        self._drop_repos()
        self._results.close()


def _cut(text: str) -> str:
    """A long text without its middle."""
    if len(text) <= SHOWN:
        return text
    half = SHOWN // 2
    return f"{text[:half]}\n... {len(text) - SHOWN} characters left out ...\n{text[-half:]}"
