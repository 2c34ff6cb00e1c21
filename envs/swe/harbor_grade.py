"""The sandbox of a task directory, and its grader: the task's own tests, in a fork of what the agent left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import posixpath
import re
import secrets
import shlex
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...sandboxes import Limits, Provider, Result, Sandbox
from ..errors import InfraError
from . import grade, harbor, library
from .cache import Cache, Graded
from .harbor import ASIDE, Folder
from .harbor_image import WORKDIR, Recipe, build
from .repo import Repo
from .task import Task

TESTS, LOGS = f"{ASIDE}/tests", f"{ASIDE}/logs/verifier"

# What pytest means while the tests run: modules of the working directory come last on its path, and its end is seen. Its exit
# code stays, and programs that tests start find PYTHONPATH, and pytest, as the task has them.
_PYTEST = """import os, sys
import pytest
here, args = os.path.dirname(os.path.abspath(__file__)), sys.argv[1:]
theirs, ours = os.environ.pop("MILEPOST_PATH", ""), os.environ.pop("MILEPOST_ARGS", None)
sys.path += filter(None, theirs.split(":"))
os.environ["PYTHONPATH"] = ":".join(filter(None, [theirs, os.environ["PYTHONPATH"].split(":")[1]]))
last = sorted(n for n in os.listdir(here) if n.startswith("test_last_"))
if ours and last and not {a[:2] for a in args} & {"-k", "-m"}:
    with open(here + "/" + last[0][10:-3], "a") as f:
        f.write("begin\\n")
    args.append(here + "/" + last[0])
leave, code = os._exit, pytest.main([*(ours or "").split(), *args])
sys.stdout.flush()
sys.stderr.flush()
leave(int(code))  # what was registered for the end of the program does not change the exit code
"""
_SHIM = f"""#!/bin/sh
export MILEPOST_PATH PYTHONPATH={ASIDE}:{grade.LIBRARY}
exec python3 -B {ASIDE}/milepost_pytest.py "$@"
"""
_LAST = """import pytest


@pytest.mark.xfail(strict=True)
def test_that_fails():
    raise ValueError  # where failures are hidden, this one fails as strict


def test_it():
    with open({mark!r}, "a") as f:
        f.write("{word}\\n")
"""
_HAS_PYTEST = (
    f"""[ -d {grade.LIBRARY} ] || python3 -B -c 'import importlib.util as u; u.find_spec("pytest") or exit(1)'"""
)
_LIST = "find . -mindepth 1 -printf '%P\\t%y\\t%m\\t%s\\t%T@\\t%l\\0'"
_HASH = "set -o pipefail; tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | sha256sum"


@dataclass(frozen=True)
class Terminal(Task):
    """A task directory as the environment needs it."""

    folder: Folder | None = None
    recipe: Recipe = field(default_factory=lambda: Recipe(WORKDIR, {}))
    script: bool = True
    """The task's own script is the judge, not pytest on its test files."""
    fallback: bool = False
    """Pytest is, where the script comes to no verdict."""


class Machine(Repo):
    """The sandbox of one task, and the fork of it in which it is graded.

    Raises:
        InfraError: (constructor) a RUN of the Dockerfile fails here, (``grade``) the grader came to no verdict.
        SandboxError: (every method) the infrastructure failed.
    """

    def __init__(self, provider: Provider, task: Terminal, limits: Limits) -> None:
        assert task.folder is not None
        workdir, env = task.recipe.workdir, task.recipe.env
        box = provider.create(None, limits=limits, env=env, workdir=workdir)
        self._box, self.grader, self._coming = box, None, None
        self._path = _path(box)
        try:
            if task.image:
                _unpack(box, task.folder.name, provider, workdir)
            build(box, task.folder.name, task.recipe)
            self._clean = box.snapshot()
        except BaseException:
            box.close()
            raise
        self._before = self._entries()
        self.files = frozenset(p for p, about in self._before.items() if about[0] == "f")
        found = self._do(self.box, "grep -rIlZ -e '' .").stdout.split("\0")
        self.texts = sorted(posixpath.normpath(p) for p in found if p)  # files with lines, not binary ones
        self.share = 0.0

    def begin(self, task: Task, changes: Mapping[str, str | None]) -> None:
        """Puts the files to the task's start."""
        self.box.restore(self._clean)

    @contextlib.contextmanager
    def watched(self, changes: dict[str, str | None]) -> Iterator[None]:
        """Nothing is noted: all that is there counts."""
        yield

    def _do(self, box: Sandbox, command: str) -> Result:
        """Runs a command of ours, with no program of the agent's in its way."""
        return box.run(command, env={"PATH": self._path})

    def _entries(self) -> dict[str, tuple[str, ...]]:
        """Every file, directory and link -> what changes when it does. Who forges it only hides his own work."""
        done = self._do(self.box, _LIST)
        told = done.stdout
        if done.truncated:
            place = f"/dev/shm/{secrets.token_hex(8)}"
            self._do(self.box, f"{_LIST} > {place}")
            told = self.box.read(place).decode("utf-8", "replace")
            self._do(self.box, f"rm {place}")
        rows = (row.split("\t") for row in told.split("\0"))
        found = {r[0]: tuple(r[1:]) for r in rows if len(r) == 6}
        return {p: (*about[:2], "", "") if about[0] == "d" else about for p, about in found.items()}

    def counted(self, task: Task, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """Path -> A (added), D (deleted) or M (modified, its mode too)."""
        now, before = self._entries(), self._before
        found = sorted(p for p in {*now, *before} if now.get(p) != before.get(p))
        return {p: "A" if p not in before else "M" if p in now else "D" for p in found}

    def close(self) -> None:
        """Closes both sandboxes."""
        self._clean.close()
        super().close()

    # -- the grader's side -----------------------------------------------------------------------
    def grade(self, task: Task, changes: Mapping[str, str | None], final: bool, cache: Cache) -> Graded:
        """The tests, put into a fork of the sandbox as it is now, in which no process of the agent's is left."""
        assert isinstance(task, Terminal) and task.folder is not None
        with contextlib.closing(self.box.snapshot()) as state:
            if self.grader is None:
                self.grader = self.box.fork(state)
            else:
                self.grader.restore(state)
            self.box.restore(state)  # ends what the agent has left running
            hashed = self._do(self.grader, _HASH)
            which = f"{hashlib.sha256(repr(task).encode()).hexdigest()} {hashed.stdout}"
            known = cache.get(which) if hashed.ok else None  # where a file cannot be read there is no key
            if known is not None:
                graded = Graded(*known)
                self.share = statistics.fmean(graded.tests.values())
                return graded
            try:
                graded = self._graded(self.grader, task, task.folder, task.script)
            except InfraError:
                if not (task.script and task.fallback):
                    raise
                self.grader.restore(state)
                graded = self._graded(self.grader, task, task.folder, False)
        if graded.tamper:
            graded, self.share = graded._replace(tests=dict.fromkeys(graded.tests, False)), 0.0
        if hashed.ok and self.share == statistics.fmean(graded.tests.values()):  # what the tests do not say is not kept
            cache.put(which, graded)
        return graded

    def _graded(self, box: Sandbox, task: Terminal, folder: Folder, script: bool) -> Graded:
        try:
            return self._run(box, task, folder, script)
        except OSError as e:  # what the agent left is in the way, such as a full disk
            self.share = 0.0
            return Graded({"tests": False}, f"The tests could not be put in: {e}", "")

    def _run(self, box: Sandbox, task: Terminal, folder: Folder, script: bool) -> Graded:
        pristine = folder.test_contents()
        for path, (data, mode) in pristine.items():
            box.write(f"{TESTS}/{path}", data, mode=mode)
        self._do(box, f"mkdir -p {LOGS}")
        box.write(f"{ASIDE}/milepost_report.py", grade.PLUGIN.read_text())
        box.write(f"{ASIDE}/milepost_pytest.py", _PYTEST)
        for name in ("sitecustomize", "usercustomize"):  # the first one on the path is imported, and no other
            box.write(f"{ASIDE}/{name}.py", "")
        box.write(f"{ASIDE}/bin/pytest", _SHIM, mode=0o755)
        env = self._environment(task, folder)
        if not box.run(_HAS_PYTEST, cwd=ASIDE, env=env).ok:
            box.upload(library.folder(task.needs), ASIDE)
        graded = (self._script if script else self._pytest)(box, task, folder, env)
        with contextlib.suppress(OSError):
            if all(box.read(f"{TESTS}/{p}") == data for p, (data, _) in pristine.items()):
                return graded
        return graded._replace(tamper="a test file was changed while the tests ran")

    def _environment(self, task: Terminal, folder: Folder) -> dict[str, str]:
        """Variables of the tests: programs and modules of the agent's come last."""
        found = {**task.recipe.env, **folder.verifier_env}
        theirs = found.get("PYTHONPATH", "")
        return {
            **found,
            "PATH": f"{ASIDE}/bin:{self._path}",
            "PYTHONPATH": ":".join(filter(None, [ASIDE, grade.LIBRARY, theirs])),
            "MILEPOST_PATH": theirs,
            "MILEPOST_ARGS": "-p milepost_report -p no:cacheprovider",
            "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": "0",
            "TEST_DIR": TESTS,
        }

    def _script(self, box: Sandbox, task: Terminal, folder: Folder, env: dict[str, str]) -> Graded:
        """The task's own script; the reward that it writes is the verdict."""
        mark, secret = secrets.token_hex(8), secrets.token_hex(8)
        box.write(f"{ASIDE}/test_last_{mark}.py", _LAST.format(mark=f"{ASIDE}/{mark}", word=secret))
        text = re.sub(r"\bpython3?(?:\.\d+)?\s+(?:-[A-Za-z]\s+)*-m\s+pytest\b", "pytest", harbor.moved(folder.script))
        box.write(f"{TESTS}/test.sh", text, mode=0o755)
        word = secrets.token_hex(16)
        done = box.run(["bash", f"{TESTS}/test.sh"], env=env, stdin=word, timeout=folder.timeout)
        box.write(f"{TESTS}/test.sh", folder.test_contents()["test.sh"][0])
        reward = _reward(box)
        if reward is None and not done.timed_out:
            raise InfraError(
                f"task {folder.name!r}: tests/test.sh wrote no reward: {(done.stderr or done.stdout)[-300:]}"
            )
        passed = reward is not None and reward >= 1.0
        outcomes, said = grade.read(done.stdout, word)
        outcomes = {_short(t): o for t, o in outcomes.items() if mark not in t and t}
        each = {t: o == "passed" for t, o in outcomes.items()}
        tests = each if each and all(each.values()) == passed else {"test.sh": passed}
        self.share = reward if reward is not None and 0.0 < reward < 1.0 else statistics.fmean(tests.values())
        shown = grade.judge({t: "passed" if ok else "failed" for t, ok in tests.items()}, _texts(said, mark), tests)[1]
        try:
            lines = box.read(f"{ASIDE}/{mark}").decode("utf-8", "replace").split()
        except OSError:
            lines = []
        cut = passed and lines.count("begin") != lines.count(secret)
        return Graded(tests, _late(shown, done.timed_out), "pytest did not come to its end" if cut else "")

    def _pytest(self, box: Sandbox, task: Terminal, folder: Folder, env: dict[str, str]) -> Graded:
        """Runs pytest with our plugin on the test files, and behind them tests whose outcomes are known."""
        word = secrets.token_hex(16)
        name, text, known = grade.canary()
        box.write(f"{TESTS}/{name}", text)
        argv = ["pytest", "-q", "-o", "addopts=", "--rootdir", TESTS, "--continue-on-collection-errors"]
        argv += [f"{TESTS}/{p}" for p in [*folder.test_files(), name]]
        env = {**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = box.run(argv, env=env, stdin=word, timeout=folder.timeout)
        outcomes, said = grade.read(done.stdout, word)
        outcomes, said = {_short(t): o for t, o in outcomes.items()}, _texts(said, name)
        counted = [t for t in outcomes if t and t not in known]
        missing = [f for f in folder.test_files() if not any(t.split("::")[0] == f for t in counted)]
        tests, shown = grade.judge(outcomes, said, [*counted, *missing])
        self.share = statistics.fmean(tests.values())
        tamper = ""
        if "" in outcomes:
            tamper = "a test file was changed while the tests ran"
        elif wrong := [t for t, outcome in known.items() if outcomes.get(t) != outcome]:
            ended = all(t in outcomes for t in wrong)
            tamper = "tests that must fail did not" if ended else "pytest did not come to its end"
        return Graded(tests, _late(shown, done.timed_out), "" if done.timed_out else tamper)


def _path(box: Sandbox) -> str:
    """PATH of a sandbox, directories that the agent can write last."""
    said = box.run(["/usr/bin/printenv", "PATH"]).stdout.strip().split(":")
    theirs = (box.workdir, "/tmp", "/dev/shm")
    places = [posixpath.normpath(posixpath.join(box.workdir, p)) for p in said]
    mine = [p for p in places if any(p == t or p.startswith(f"{t}/") for t in theirs)]
    return ":".join([*(p for p in places if p not in mine), *mine])


def _unpack(box: Sandbox, name: str, provider: Provider, workdir: str) -> None:
    """Copies what an image has in the working directory, which a sandbox's own tree hides.

    Raises:
        InfraError: it cannot be read or is too big.
    """
    packed = f"{ASIDE}/tree.tar"
    with provider.create(None, limits=box.limits, workdir="/milepost") as other:
        done = other.run(f"mkdir -p {ASIDE} && tar -C {shlex.quote(workdir)} -cf {packed} .")
        if done.ok:
            box.write(packed, other.read(packed))
            done = box.run(["tar", "-xpf", packed, "-C", workdir])
    if not done.ok:
        raise InfraError(f"task {name!r}: {workdir} of its image cannot be copied: {done.stderr.strip()[-300:]}")
    box.run(["rm", "-r", ASIDE])


def _reward(box: Sandbox) -> float | None:
    """What a script wrote; of several rewards the one named reward, else their mean. None for nothing that is a number."""
    for name in ("reward.txt", "reward.json"):
        try:
            text = box.read(f"{LOGS}/{name}").decode("utf-8", "replace")
            found = json.loads(text) if name.endswith("json") else float(text.split()[0])
            if isinstance(found, dict):
                numbers = [float(v) for v in found.values() if isinstance(v, (int, float))]
                found = found["reward"] if "reward" in found else statistics.fmean(numbers)
            if math.isfinite(value := float(found)):
                return value
        except (OSError, ValueError, TypeError, IndexError):  # statistics' own error is a ValueError
            continue
    return None


def _short(test: str) -> str:
    return re.sub(r"^(?:.*?milepost/)?tests/", "", test)


def _texts(said: Mapping[str, str], without: str) -> dict[str, str]:
    return {_short(t): text for t, text in said.items() if without not in t}


def _late(text: str, late: bool) -> str:
    return f"{text}\n\nThe tests did not end in time." if late else text
