"""Tasks from packages: a source distribution's tree, its build and its tests in sandboxes, bugs, and a check of each task.

Nothing of a package runs on this machine. Its own backend builds it in a sandbox (``package_wheel``); the tree then has what
the build made beside its sources: the metadata that ``importlib.metadata`` reads, and modules such as one with the version.
Its directories of modules go on the path. What needs more, such as a compiled module without a fallback in Python, cannot be
used.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...sandboxes import Limits, Provider, Sandbox, SandboxError, Unavailable, make
from ..errors import InfraError, one_of
from . import build, diff, grade, library, package, package_wheel
from .bugrepair import Bugs
from .cache import Cache
from .instance import Instance, load, save
from .package_tree import imported, installed, layout, sources, unpack
from .repo import Repo
from .task import Task

SANDBOXES = ("local", "docker")
SOURCE = 250_000  # characters of a package into which bugs may go: to list all that are possible takes time
AGAIN = 2  # further runs before tests are relied on
MEMORY = 2**30  # bytes of a sandbox, as SweEnv has it
Say = Callable[[str], None]


@dataclass
class Built:
    """What became of one package."""

    spec: str
    """As it was asked for."""
    name: str = ""
    version: str = ""
    seconds: float = 0.0
    tests: int = 0
    """Tests that pass."""
    instances: list[Instance] = dataclasses.field(default_factory=list)
    facts: dict[str, object] = dataclasses.field(default_factory=dict)
    """Its row in ``packages.json``."""
    error: str = ""
    """Why there is no task of it."""

    @property
    def families(self) -> list[str]:
        """Kinds of bugs in its tasks."""
        return sorted({f for i in self.instances for f in i.extra["families"]})


def build_all(
    specs: Sequence[str],
    out: Path,
    *,
    counts: Mapping[int, int],
    seed: int = 0,
    needs: Sequence[str] = (),
    sandbox: str = "local",
    timeout: float = 60.0,
    say: Say = lambda _: None,
) -> list[Built]:
    """Makes or extends a directory that ``BugRepairEnv(path=...)`` loads; a package that fails leaves the others.

    Args:
        specs: names, names with a version, or files, see ``package.fetch``.
        out: gets ``instances.jsonl``, ``packages.json`` and ``trees/``. Tasks that are there stay, but for those of a release
            that is built anew.
        counts: number of bugs -> tasks wanted with so many, of each package.
        seed: of all choices.
        needs: distributions of this machine that tests import, beside those that are found out.
        sandbox: ``local`` or ``docker``; in the latter, only what its image has can be imported.
        timeout: seconds for one run of a package's tests, and for each step of its build; test files are left out until a run
            takes at most half of it.
        say: is told what happens, a line at a time.

    Raises:
        ValueError: a setting is not allowed; one of ``needs`` is not installed.
        InfraError: no sandbox can be made here.
    """
    if sandbox not in SANDBOXES:
        raise one_of("sandbox", sandbox, SANDBOXES)
    if not counts or any(b not in (1, 2, 3) or n < 1 for b, n in counts.items()):
        raise ValueError(f"counts is {dict(counts)!r}; allowed: 1, 2 or 3 bugs, and one task or more of each")
    limits = Limits(timeout=timeout, memory=MEMORY)
    for need in needs:
        if not installed(need):
            raise ValueError(f"needs has {need!r}, which is not installed: pip install {need}")
    try:
        make(sandbox).close()
    except Unavailable as e:
        raise InfraError(str(e)) from e
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for spec in specs:
        start = time.monotonic()
        row = Built(spec)
        half = Path(tempfile.mkdtemp(dir=out, prefix=".half-"))
        try:
            _build(row, half, counts, seed, needs, sandbox, limits, say)
            _merge(row, half, out)
        except (ValueError, OSError, InfraError, SandboxError) as e:
            row.error, row.instances = str(e), []
            say(f"{spec}: {e}")
        finally:
            shutil.rmtree(half, ignore_errors=True)
        row.seconds = time.monotonic() - start
        rows.append(row)
    return rows


def _build(
    row: Built,
    half: Path,
    counts: Mapping[int, int],
    seed: int,
    needs: Sequence[str],
    sandbox: str,
    limits: Limits,
    say: Say,
) -> None:
    """Fills ``half`` with the tasks of one package."""
    sdist = package.fetch(row.spec, half)
    row.name, row.version = sdist.name, sdist.version
    label = f"{sdist.name}-{sdist.version}"
    tree = half / "trees" / label
    tree.parent.mkdir()
    unpack(sdist, tree)
    about = package.about(tree)
    say(f"{row.spec}: {sdist.file.name}, {sdist.file.stat().st_size:,} bytes, licence: {about.licence}")
    roots, own = layout(tree, sdist.name)
    files = build.sources(str(tree))[1]
    if not files:
        raise ValueError(f"{sdist.file.name} has no tests; allowed: files test_*.py or *_test.py")
    wanted, missing = imported(tree, files, own)
    wanted |= {n for n in about.requires if installed(n)}
    missing |= {n for n in about.requires if not installed(n)}
    libs = tuple(dict.fromkeys(["pytest", *sorted({*wanted, *map(package.canonical, needs)} - {"pytest"})]))
    if missing:
        say(f"  not installed: {', '.join(sorted(missing))}")
    place = library.folder(libs)
    for name in own:
        if (place / name).exists() or (place / f"{name}.py").exists():
            raise ValueError(
                f"{sdist.name} is needed to run tests and cannot be under test: what runs them has {name} too"
            )
    code = _some(tree, sources(tree, roots, own), seed)  # what the build makes is no place for a bug
    start = time.monotonic()
    added = package_wheel.add(package_wheel.build(sandbox, tree, sdist, limits), tree, roots[0], own, sdist)
    say(f"  built in {time.monotonic() - start:.1f} s; of the wheel: metadata{''.join(f', {f}' for f in added.files)}")
    if added.compiled:
        say(f"  left out {', '.join(added.compiled)}: compiled")
    blank = Instance(label, label, "", "", "", "", (), ())
    task = Task(blank, str(tree), roots=roots, needs=libs)
    with make(sandbox, **({"mounts": {grade.LIBRARY: str(place)}} if sandbox == "local" else {})) as provider:
        with provider.create(tree, limits=limits) as box:
            kept, left, row.tests, took = choose(box, task, files, limits.timeout / 2)
        for path, why in left.items():
            (tree / path).unlink()
            say(f"  left out {path}: {why}")
        say(f"  {row.tests} tests of {len(kept)} files pass, {took:.1f} s a run")
        # a bug that makes a loop endless is no task: the less it takes to see that, the better
        brief = dataclasses.replace(limits, timeout=min(limits.timeout, max(5.0, 4 * took)))
        made = list(
            build.inject(
                provider, str(tree), label, counts=counts, seed=seed, roots=roots, needs=libs, only=code, limits=brief
            )
        )
        extra = {"package": sdist.name, "version": sdist.version, "license": about.licence, "sha256": sdist.sha256}
        made = [dataclasses.replace(i, extra={**i.extra, **extra}) for i in made]
        save(made, half / "instances.jsonl")
        row.instances = checked(provider, half, kept, brief) if made else []
    save(row.instances, half / "instances.jsonl")
    row.facts = {
        **extra,
        "sdist": sdist.file.name, "url": sdist.url, "tree": label, "roots": list(roots), "needs": list(libs),
        "tests": row.tests, "tasks": len(row.instances), "families": row.families,
        "left_out": left, "not_installed": sorted(missing),
        "built": list(added.files), "compiled": list(added.compiled),
    }  # fmt: skip
    if not row.instances:
        raise ValueError(f"{label}: no bug was noticed by some of its tests and not by all")
    say(f"  {len(row.instances)} tasks with bugs of {len(row.families)} families")


def _some(tree: Path, files: list[str], seed: int) -> list[str]:
    """Files drawn by chance, as many as ``SOURCE`` allows, one at least."""
    drawn: list[str] = []
    total = 0
    for n in np.random.default_rng(seed).permutation(len(files)):
        total += len((tree / files[n]).read_text("utf-8"))
        if total <= SOURCE or not drawn:
            drawn.append(files[n])
    return sorted(drawn)


# -- the tests ---------------------------------------------------------------------------------------
def choose(
    box: Sandbox, task: Task, files: Sequence[str], budget: float
) -> tuple[list[str], dict[str, str], int, float]:
    """Test files that run, together in at most so many seconds; why the others are left out; tests that pass; seconds.

    Args:
        box: over the tree.
        task: of the tree without a bug.
        files: test files.
        budget: seconds.

    Raises:
        ValueError: none is left, or a test file is changed by its tests.
    """
    kept, left, room = list(files), dict[str, str](), budget
    while kept:
        box.restore()
        start = time.monotonic()
        found, said, late = grade.outcomes(box, task, kept)
        if "" in found:
            raise ValueError(
                f"its tests change their own files ({said.get('', 'one')}), which is not told from tampering"
            )
        # nothing but errors: pytest ran no test because it could not read every file
        broken = {n.partition("::")[0] for n in found} if set(found.values()) == {"error"} else set()
        gone = {f: n for f in kept for n in broken if f == n or f.startswith(f"{n}/")}
        if gone:
            left |= {f: _reason(said.get(n, "")) for f, n in gone.items()}
            kept = [f for f in kept if f not in gone]
            continue
        if not found and not late:
            raise ValueError(f"no test could be run: {_refusal(box, task, kept)}")
        took = time.monotonic() - start
        if not late and took <= budget:
            fickle = _fickle(box, task, kept, found)
            if not fickle:
                return kept, left, sum(o == "passed" for o in found.values()), took
            left |= dict.fromkeys(fickle, "its tests or their names are others in another run")
            kept = [f for f in kept if f not in fickle]
            continue
        quick = _quick(box, task, kept, room)
        room /= 2  # together they may take longer than one by one: each round is stricter than the last
        left |= {f: "it takes too long" for f in kept if f not in quick}
        kept = quick
    raise ValueError("no test file is left: " + "; ".join(f"{f}: {why}" for f, why in list(left.items())[:3]))


def _fickle(box: Sandbox, task: Task, files: Sequence[str], found: Mapping[str, str]) -> set[str]:
    """Files whose tests do not come out again as they did, or have other names, such as those that follow a set's order."""
    differ: set[str] = set()
    for _ in range(AGAIN):
        box.restore()
        again = grade.outcomes(box, task, list(files))[0]
        differ |= {t.partition("::")[0] for t in {*found, *again} if found.get(t) != again.get(t)}
    return differ & set(files)


def _quick(box: Sandbox, task: Task, files: Sequence[str], budget: float) -> list[str]:
    """The files that run fastest alone, as many as fit."""
    times = []
    for file in files:
        box.restore()
        start = time.monotonic()
        late = grade.outcomes(box, task, [file])[2]
        times.append((float("inf") if late else time.monotonic() - start, file))
    kept, total = set[str](), 0.0
    for seconds, file in sorted(times):
        total += seconds
        if total <= budget:
            kept.add(file)
    return [f for f in files if f in kept]


def _reason(said: str) -> str:
    """The last line that says an error, without the machine's own paths."""
    lines = [line[1:].strip() for line in said.splitlines() if line.startswith("E ")] or said.strip().splitlines()
    return lines[-1][:160] if lines else "it cannot be imported"


def _refusal(box: Sandbox, task: Task, files: Sequence[str]) -> str:
    """Why pytest itself did not start."""
    path = ":".join([grade.LIBRARY, *(f"{box.workdir}/{r}" for r in task.roots)])
    argv = ["python3", "-B", "-m", "pytest", "-q", "--co", "-p", "no:cacheprovider", "-o", "addopts=", *files]
    done = box.run(argv, env={"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    return _reason(done.stderr or done.stdout)


# -- the tasks ---------------------------------------------------------------------------------------
def checked(provider: Provider, folder: Path, files: list[str], limits: Limits) -> list[Instance]:
    """Of one package's tasks those whose tests fail again with the same words, and pass for the grader after the repair."""
    collection, kept, results = Bugs(str(folder)), [], Cache()
    tasks = [collection.task(i) for i in collection.instances()]
    repo = Repo(provider, tasks[0], limits)  # they are all of one tree
    try:
        for task in tasks:
            i = task.instance
            repo.begin(task, {})
            found, said, late = grade.outcomes(repo.box, task, files)
            failing = sorted(t for t in (*i.fail_to_pass, *i.pass_to_pass) if found.get(t) != "passed")
            same = failing == list(i.fail_to_pass) and build.statement(i.repo, said, failing) == i.problem_statement
            fixed = diff.apply(diff.hunks(i.patch), {p: t for p, t in task.changes.items() if t})
            if same and not late:
                graded = repo.grade(task, fixed, True, results)
                kept += [i] if all(graded.tests.values()) and not graded.tamper else []
    finally:
        repo.close()
    return kept


def _merge(row: Built, half: Path, out: Path) -> None:
    """Puts a package's tasks into a collection, in the place of older ones of the same release."""
    tree = str(row.facts["tree"])
    target, listed, table = out / "trees" / tree, out / "instances.jsonl", out / "packages.json"
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    (half / "trees" / tree).rename(target)
    others = [i for i in load(listed) if i.extra["tree"] != tree] if listed.is_file() else []
    save([*others, *row.instances], half / "all.jsonl")
    (half / "all.jsonl").replace(listed)
    packages = json.loads(table.read_text("utf-8")) if table.is_file() else []
    packages = [p for p in packages if p["tree"] != tree] + [row.facts]
    (half / "packages.json").write_text(json.dumps(packages, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (half / "packages.json").replace(table)
