"""Hostile code in every provider and tier that can be had here, behind a guard of our own; afterwards nothing is left.

The scenarios are in ``tests/hostile``, one function each; ``child.py`` runs them in a process whose control groups, made here,
hold 1,500 processes and 6 GB whatever the sandboxes do, while a watch ends it when the machine gets short of either.
"""

import ast
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import milepost.sandboxes

HERE = Path(__file__).parent / "hostile"
SANDBOXES = Path(milepost.sandboxes.__file__).parent
NOBODY = 65534
FILES = ("too_much", "processes", "reach", "trees")
SCENARIOS = [
    (file, node.name)
    for file in FILES
    for node in ast.parse((HERE / f"{file}.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and [a.arg for a in node.args.args] == ["provider", "box", "told"]
]
TIERS = ("local", "no-groups", "user", "docker")
# what a weaker tier of the same provider could change; the rest is tried there in ``make test-full``
TIERED = {
    "many_files",
    "fork_bomb",
    "thread_bomb",
    "memory_hog",
    "disk_filler",
    "parent_killed",
    "keeper_killed",
    "host_files",
    "namespaces",
    "outside",
}


# -- the guard ---------------------------------------------------------------------------------------
def places():
    """Folders in which control groups of pids and memory can be made, of either version."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path)
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, root, kind, options, *_ = line.split()
        for controller in ("pids", "memory"):
            if kind == "cgroup" and controller in options.split(","):
                here = root + own.get(controller, "/")
                found[controller] = here if os.path.isdir(here) else root
            elif kind == "cgroup2" and controller not in found:
                with contextlib.suppress(OSError):
                    if controller in Path(root, "cgroup.subtree_control").read_text().split():
                        found[controller] = root
    return found


@contextlib.contextmanager
def guard(name):
    """Control groups that hold 1,500 processes and 6 GB, where we may make them."""
    made = []
    limits = {"pids": (("pids.max", 1500),), "memory": (("memory.max", 6 << 30), ("memory.limit_in_bytes", 6 << 30))}
    for controller, place in places().items():
        path = Path(place, name)
        with contextlib.suppress(OSError):
            path.mkdir(exist_ok=True)
            made.append(path)
            for file, value in limits[controller]:
                if (path / file).exists():
                    (path / file).write_text(str(value))
    made = list(dict.fromkeys(made))
    try:
        yield [str(p) for p in made]
    finally:
        for path in made:
            for _ in range(100):
                for folder, _, _ in os.walk(path, topdown=False):
                    with contextlib.suppress(OSError):
                        for pid in Path(folder, "cgroup.procs").read_text().split():
                            os.kill(int(pid), 9)
                        os.rmdir(folder)
                if not path.exists():
                    break
                time.sleep(0.05)


class Watch(threading.Thread):
    """Ends a process when the machine has 4,000 more processes than before or gets short of memory."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.over, self.why = process, threading.Event(), ""

    @staticmethod
    def now():
        """Processes, bytes of memory that can be had."""
        free = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) << 10
        return sum(n.isdigit() for n in os.listdir("/proc")), free

    def run(self):
        before, at_first = self.now()
        while not self.over.wait(0.2):
            now, free = self.now()
            if now > before + 4000 or free < min(3 << 29, at_first // 4):
                self.why = f"{now} processes, {free >> 20} MB of memory"
                self.process.kill()
                if shutil.which("docker"):
                    label = ["docker", "ps", "-q", "--filter", "label=milepost.sandbox"]
                    found = subprocess.run(label, capture_output=True, text=True).stdout.split()
                    subprocess.run(["docker", "kill", *found], capture_output=True)
                return


# -- the child ---------------------------------------------------------------------------------------
def python(tier):
    """A Python that the tier's user may run."""
    if tier != "user":
        return sys.executable
    for path in (sys._base_executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            test = [path, "-c", "import sys; assert sys.version_info >= (3, 10)"]
            subprocess.run(test, user=NOBODY, group=NOBODY, extra_groups=[], check=True, capture_output=True)
            return path
    pytest.skip("no Python and checkout that an ordinary user can read")


class Child:
    """One guarded process that plays scenarios of one tier."""

    def __init__(self, tier):
        self.tier, self.provider = tier, "docker" if tier == "docker" else "local"
        self.temp = tempfile.mkdtemp(prefix="hostile-")  # its TMPDIR
        os.chmod(self.temp, 0o777)
        self.code = tempfile.mkdtemp(prefix="hostile-")  # a copy of all that it runs, where its user can read it
        os.chmod(self.code, 0o755)
        shutil.copytree(SANDBOXES, f"{self.code}/sandboxes", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(HERE, f"{self.code}/hostile", ignore=shutil.ignore_patterns("__pycache__"))
        self.stack = contextlib.ExitStack()
        self.groups = self.stack.enter_context(guard(f"milepost-guard-{os.getpid()}-{tier}"))
        self.process = subprocess.Popen(
            [
                python(tier),
                f"{self.code}/hostile/child.py",
                f"{self.code}/sandboxes",
                self.provider,
                tier,
                *self.groups,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "MILEPOST_SECRET": "hidden-in-our-environment",
                "TMPDIR": self.temp,
                "OMP_NUM_THREADS": "1",
            },
        )
        assert "pid" in self._answer(60)

    def _answer(self, seconds):
        ready = select.select([self.process.stdout], [], [], seconds)[0]
        line = self.process.stdout.readline() if ready else b""
        assert line, f"the guarded process {'died' if ready else 'hangs'}"
        return json.loads(line)

    def play(self, file, name, **told):
        """One scenario; what it said."""
        watch = Watch(self.process)
        watch.start()
        try:
            self.process.stdin.write(
                json.dumps({"file": file, "name": name, "pid": os.getpid(), **told}).encode() + b"\n"
            )
            self.process.stdin.flush()
            return self._answer(150)
        finally:
            watch.over.set()
            watch.join()
            assert not watch.why, watch.why

    def left(self):
        """What its sandboxes could leave: processes, mounts, control groups, containers, files."""
        parents = {}
        for n in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, IndexError):
                fields = Path(f"/proc/{n}/stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    parents[int(n)] = int(fields[1])
        ours, grown = {self.process.pid}, True
        while grown:
            new = {p for p, up in parents.items() if up in ours} - ours
            ours, grown = ours | new, bool(new)
        for group in self.groups:
            for folder, _, _ in os.walk(group):  # unlike glob it bears groups that are removed meanwhile
                with contextlib.suppress(OSError):
                    ours |= {p for p in map(int, Path(folder, "cgroup.procs").read_text().split()) if p in parents}
        said = [f"process {p} {Path(f'/proc/{p}/cmdline').read_bytes()[:80]}" for p in ours - {self.process.pid}]
        for line in Path(f"/proc/{self.process.pid}/mountinfo").read_text().splitlines():
            if "milepost" in line or "/store" in line or "newroot" in line:
                said.append(f"mount {line}")
        for root in {*map(Path, self.groups), Path("/sys/fs/cgroup")}:
            for folder, inner, _ in os.walk(root):
                said += [f"group {folder}/{g}" for g in inner if g.startswith(f"milepost-{self.process.pid}-")]
        said += [f"file {p}" for p in os.listdir(self.temp)]
        if self.provider == "docker":
            form = ["--filter", "label=milepost.sandbox", "--format", "{{.ID}} {{.Labels}}"]
            listed = subprocess.run(["docker", "ps", "-a", *form], capture_output=True, text=True, check=True).stdout
            said += [f"container {c}" for c in listed.splitlines() if f" {self.process.pid} " in c]
        return said

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stack.close()
        for folder in (self.temp, self.code):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def children():
    """A guarded process for each tier, started when it is first wanted and again when it died."""
    found = {}

    def get(tier):
        if tier in found and found[tier].process.poll() is not None:
            found.pop(tier).close()
        if tier not in found:
            found[tier] = Child(tier)
        return found[tier]

    yield get
    for child in found.values():
        child.close()


@pytest.fixture(scope="module")
def victims():
    """What hostile code looks for: a secret file, listeners on the loopback, processes."""
    folder = tempfile.mkdtemp(prefix="victim-")
    os.chmod(folder, 0o755)
    secret = Path(folder, f"secret-{os.getpid()}")
    secret.write_text("the content of a file of the machine")
    secret.chmod(0o644)
    name = f"milepost-victim-{os.getpid()}"
    sockets = [
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    ]
    port = sockets[0].getsockname()[1]
    sockets[1].bind("\0" + name)
    sockets[1].listen()
    sockets[2].bind("\0" + name + "-dgram")
    sockets[3].bind(("127.0.0.1", port))
    sleeper = subprocess.Popen(["sleep", "1000"])
    yield {"secret": str(secret), "port": port, "abstract": name, "victims": [sleeper.pid]}, sockets, sleeper
    sleeper.kill()
    sleeper.wait()
    for s in sockets:
        s.close()
    shutil.rmtree(folder)


def cases():
    for tier in TIERS:
        for file, name in SCENARIOS:
            if tier == "docker" and name == "keeper_killed":
                continue  # it has none; tests/test_sandbox_docker.py removes its containers
            marks = [pytest.mark.docker if tier == "docker" else pytest.mark.sandbox]
            if tier in ("no-groups", "user") and name not in TIERED:
                marks.append(pytest.mark.full)
            yield pytest.param(tier, file, name, marks=[*marks, pytest.mark.timeout(240)], id=f"{tier}-{name}")


@pytest.mark.parametrize(("tier", "file", "name"), list(cases()))
def test_hostile_code(tier, file, name, children, victims, request):
    if tier == "docker":
        request.getfixturevalue("engine")
    if tier in ("no-groups", "user") and os.geteuid() != 0:
        pytest.skip("not root: the tier of an ordinary user is the only one, and is tried as local")
    told, sockets, sleeper = victims
    child = children(tier)
    assert child.left() == []
    said = child.play(file, name, **told)
    assert said["detail"] == "", said["detail"]
    assert said["fds"] == []
    if tier in ("no-groups", "user"):
        assert said["means"]["memory"] == "rlimit, each process"
    for _ in range(100):  # what was killed may take a moment
        left = child.left()
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    assert select.select(sockets, [], [], 0)[0] == [], "somebody reached a listener of ours"
    assert sleeper.poll() is None


def test_there_are_scenarios_and_each_says_what_it_is():
    assert len(SCENARIOS) >= 25 and {n for _, n in SCENARIOS} > TIERED
    for file in FILES:
        for node in ast.parse((HERE / f"{file}.py").read_text()).body:
            assert not isinstance(node, ast.FunctionDef) or ast.get_docstring(node) or node.name == "seen"
