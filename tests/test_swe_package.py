"""Tasks from packages: a distribution that is written and built here, hostile archives and backends, and (full) PyPI's."""

import gzip
import hashlib
import io
import json
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from milepost.cli import swe as command
from milepost.cli.names import UserError
from milepost.envs.errors import InfraError
from milepost.envs.swe import library, package, package_tree, package_wheel
from milepost.envs.swe.bugrepair import BugRepairEnv
from milepost.envs.swe.grade import LIBRARY
from milepost.envs.swe.instance import Instance, load
from milepost.envs.swe.packages_build import build_all, choose
from milepost.envs.swe.task import Task
from milepost.sandboxes import Limits, make

SUBMIT = '{"name": "submit", "arguments": {}}'
INFO = "Metadata-Version: 2.1\nName: pebble-stats\nVersion: 1.2\nLicense-Expression: MIT\nRequires-Python: >=3.8\n"
CODE = """from importlib.metadata import entry_points, version

from ._version import __version__

assert version("pebble-stats") == __version__
assert [e.value for e in entry_points(group="pebbles")] == ["pebble_stats:mean"]


def mean(values):
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)


def clip(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value


def first(values, default=None):
    for value in values:
        if value is not None:
            return value
    return default
"""
TESTS = """import pytest

from pebble_stats import clip, first, mean


@pytest.mark.parametrize("value, want", [([1, 2, 3], 2), ([5], 5)], ids=["a b::c[1]/d", "ü \\n\\t"])
def test_mean(value, want):
    assert mean(value) == want


def test_mean_of_nothing():
    with pytest.raises(ValueError):
        mean([])


def test_clip():
    assert [clip(v, 0, 3) for v in (-1, 0, 1, 3, 4)] == [0, 0, 1, 3, 3]


def test_first():
    assert first([None, 4, 5]) == 4 and first([], 7) == 7
"""
TOML = '[build-system]\nrequires = ["pebble-backend>=1"]\nbuild-backend = "in_tree:backend"\nbackend-path = ["."]\n'
IN_TREE = """import os

import pebble_backend


class backend:
    @staticmethod
    def get_requires_for_build_wheel(settings):
        return ["pebble-extra"]

    @staticmethod
    def build_wheel(folder, settings):
        import pebble_extra

        print("noise")
        with open("src/pebble_stats/_version.py", "w") as f:
            f.write(f"__version__ = {os.environ['SETUPTOOLS_SCM_PRETEND_VERSION']!r}\\n")
        return pebble_backend.wheel(folder, "pebble_stats", "1.2", "src")
"""
# of the index: wheels in which there is a module that is not to run on the machine
BACKEND = """import os
import zipfile


def wheel(folder, name, version, root):
    file, about = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(f"{folder}/{file}", "w") as z:
        for module in sorted(os.listdir(f"{root}/{name}")):
            z.writestr(f"{name}/{module}", open(f"{root}/{name}/{module}").read())
        z.writestr(f"{about}/METADATA", open("PKG-INFO").read())
        z.writestr(f"{about}/entry_points.txt", f"[pebbles]\\nmean = {name}:mean\\n")
        z.writestr(f"{about}/RECORD", "")
    return file
"""


def harm(mark):
    """Source that leaves a mark on the machine when it is run there."""
    return f"try:\n    open({str(mark)!r}, 'w').close()\nexcept OSError:\n    pass\n"


def files(mark):
    """A distribution each of whose files leaves a mark on the machine when it is run there."""
    bad = harm(mark)
    return {
        "PKG-INFO": INFO, "pyproject.toml": TOML, "setup.py": bad, "in_tree.py": IN_TREE + bad,
        "src/pebble_stats/__init__.py": CODE + bad, "src/pebble_stats.egg-info/PKG-INFO": "Name: pebble-stats\nVersion: 0\n",
        "tests/__init__.py": "", "tests/conftest.py": bad, "tests/test_stats.py": TESTS + bad,
        "tests/test_more.py": "import zz_not_there\n\n\ndef test_more():\n    pass\n",
        ".git/config": "", "src/pebble_stats/__pycache__/x.pyc": "",
    }  # fmt: skip


def wheel(members):
    """Bytes of a .whl of name (or ZipInfo) -> content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)
    return out.getvalue()


def module(folder, name, text):
    """A wheel of one module, to be put into the index."""
    about = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    rows = {f"{name}.py": text, f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    rows[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path.write_bytes(wheel(rows | {f"{about}/RECORD": "".join(f"{n},,\n" for n in rows)}))
    return path


@pytest.fixture
def backends(tmp_path, monkeypatch):
    """An own cache of what builds need, which begins empty."""
    place = tmp_path / "backends"
    place.mkdir()
    monkeypatch.setattr(package_wheel, "cache", lambda name: place)
    return place


def entry(name, kind=tarfile.REGTYPE, to="", size=0):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, to, size
    return member


def archive(place, contents, *members):
    """A .tar.gz of path -> text below NAME-VERSION/, and members as they are."""
    top = place.name.removesuffix(".tar.gz")
    with tarfile.open(place, "w:gz") as tar:
        for path, text in contents.items():
            data = text.encode()
            tar.addfile(entry(f"{top}/{path}", size=len(data)), io.BytesIO(data))
        for member in members:
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return place


@pytest.fixture
def index(monkeypatch):
    """Pages of a package index on loopback, path -> (media type, bytes) or a status; pip's own settings are out of the way."""
    pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            got = pages.get(self.path, 404)
            self.send_response(got if isinstance(got, int) else 200)
            kind, body = ("text/plain", b"") if isinstance(got, int) else got
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            asked.append((self.path, self.headers.get("Authorization")))

        def log_message(self, *args):
            pass

    asked = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://somebody:secret@127.0.0.1:{http.server_port}/simple")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield pages, asked
    http.shutdown()
    http.server_close()
    thread.join(5)


def offer(pages, path, sha256=None, text=None):
    """Puts an archive or a wheel and its page (PEP 503) into the index."""
    name, data = path.name.partition("-")[0].replace("_", "-"), path.read_bytes()
    digest = sha256 or hashlib.sha256(data).hexdigest()
    page = (
        text
        or f'<!DOCTYPE html><a href="../../files/{path.name}#sha256={digest}" data-requires-python="&gt;=3.8">x</a>'
    )
    pages[f"/simple/{name}/"] = "text/html", page.encode()
    pages[f"/files/{path.name}"] = "application/gzip", data


@pytest.mark.swe
def test_tasks_of_a_distribution_that_is_written_here(index, backends, tmp_path, capsys):
    mark, out = tmp_path / "mark", tmp_path / "out"
    sdist = archive(tmp_path / "pebble_stats-1.2.tar.gz", files(mark))
    for path in (
        sdist,
        module(tmp_path, "pebble_backend", BACKEND + harm(mark)),
        module(tmp_path, "pebble_extra", harm(mark)),
    ):
        offer(index[0], path)
    asked = ["pebble-stats", "no-such-package"]
    assert command.build(asked, out, "1=2", 0, [], "local", 60.0) == 0
    said = capsys.readouterr()
    assert "left out tests/test_more.py: ModuleNotFoundError: No module named 'zz_not_there'" in said.err
    assert "not installed: zz_not_there" in said.err and "no source distribution of 'no-such-package'" in said.out
    assert "secret" not in said.out + said.err and index[1][0][1].startswith("Basic ")

    (row,) = json.loads((out / "packages.json").read_text())
    assert (row["license"], row["tests"], row["tasks"]) == ("MIT", 5, 2)
    assert row["sha256"] == hashlib.sha256(sdist.read_bytes()).hexdigest()
    assert row["url"].startswith("http://127.0.0.1") and row["url"].endswith("/files/pebble_stats-1.2.tar.gz")
    tree = out / "trees/pebble-stats-1.2"
    assert not {".git", "__pycache__", "test_more.py"} & {p.name for p in tree.rglob("*")}
    assert row["built"] == ["src/pebble_stats/_version.py"] and row["compiled"] == []
    assert (tree / "src/pebble_stats/_version.py").read_text() == "__version__ = '1.2'\n"
    about = [p.relative_to(tree).as_posix() for p in tree.rglob("*-info/*")]
    assert sorted(about) == [f"src/pebble_stats-1.2.dist-info/{n}" for n in ("METADATA", "entry_points.txt")]
    assert sorted(p.name for p in out.iterdir()) == ["instances.jsonl", "packages.json", "trees"]

    instances = load(out / "instances.jsonl")
    every = {t for i in instances for t in (*i.fail_to_pass, *i.pass_to_pass)}
    assert "tests/test_stats.py::test_mean[a b::c[1]/d]" in every and len(every) == 5
    assert {i.extra["license"] for i in instances} == {"MIT"} and len(instances) == 2
    for split in {"test" if i.held_out else "train" for i in instances}:
        env = BugRepairEnv(str(out), split=split)
        try:
            for task in env.tasks():
                env.reset(options={"task": task})
                _, reward, over, _, info = env.step(SUBMIT)
                assert over and reward == 0.0 and not info["success"]
                env.reset(options={"task": task})
                over = False
                while not over:
                    _, reward, over, _, info = env.step(env.oracle())
                assert reward == 1.0 and info["success"]
        finally:
            env.close()

    again = tmp_path / "again"  # from a file, and with what is in the cache: there is no index now
    index[0].clear()
    assert build_all([str(sdist)], again, counts={1: 2})[0].error == ""
    assert (again / "instances.jsonl").read_bytes() == (out / "instances.jsonl").read_bytes()
    assert not mark.exists(), "something of the distribution ran on the machine"


def in_tree(text, more=""):
    """Files of a distribution ``bad`` with a backend in its tree that needs nothing."""
    toml = f'[build-system]\nrequires = []\nbuild-backend = "inner"\nbackend-path = ["build_it"]\n{more}'
    tests = "def test_a():\n    pass\n"
    return {"pyproject.toml": toml, "build_it/inner.py": text, "bad.py": "x = 1\n", "test_a.py": tests}


HOOK = "import os, time\n\n\ndef build_wheel(folder, settings):\n    "
FAILING = {
    "raises": (HOOK + "raise KeyError('what is missing')\n", "bad-1 cannot be built: KeyError: 'what is missing'"),
    "no hook": ("", "has no attribute 'build_wheel'"),
    "hangs": (HOOK + "time.sleep(600)\n", "build_wheel did not end in 2 s"),
    "killed": (HOOK + "os.kill(os.getpid(), 9)\n", "exit code 137"),
    "ends": (HOOK + "os._exit(0)\n", "build_wheel ended the process"),
    "no wheel": (HOOK + "return 'x.whl'\n", "build_wheel made no x.whl"),
    "no name": (HOOK + "return 3\n", "build_wheel gave 3; allowed: the name of a file .whl"),
    "a path": (HOOK + "return '../../etc/x.whl'\n", r"build_wheel gave '\.\./\.\./etc/x.whl'"),
    "asks": (
        "def get_requires_for_build_wheel(settings):\n    return ['x @ file:///x']\n",
        "it wants 'x @ file:///x' for its build; allowed: names with versions",
    ),
}
INFO_OF_BAD = {"bad-1.dist-info/METADATA": "Name: bad\nVersion: 1\n"}
WRONG = {
    "it cannot be unpacked": b"nothing",
    "leads out": wheel({**INFO_OF_BAD, "../x": ""}),
    "unpacks to more than": wheel({**INFO_OF_BAD, "x": "0" * 2**21}),
    "0 directories are metadata; allowed: one": wheel({"bad.py": ""}),
    "2 directories are metadata; allowed: one": wheel({**INFO_OF_BAD, "bad-2.dist-info/METADATA": ""}),
    "the metadata is of good; allowed: of bad": wheel({"good-1.dist-info/METADATA": ""}),
}


@pytest.mark.swe
def test_backends_and_wheels_that_are_wrong_are_refused(tmp_path, backends, monkeypatch):
    for n, (which, (text, why)) in enumerate(FAILING.items()):
        folder = tmp_path / str(n)
        folder.mkdir()
        sdist = package.fetch(str(archive(folder / "bad-1.tar.gz", in_tree(text))), folder)
        package_tree.unpack(sdist, folder / "tree")
        before = sorted(p.name for p in (folder / "tree").rglob("*"))
        with pytest.raises(ValueError, match=why):
            package_wheel.build("local", folder / "tree", sdist, Limits(timeout=2.0 if which == "hangs" else 30.0))
        assert sorted(p.name for p in (folder / "tree").rglob("*")) == before, which
    assert len(list(backends.iterdir())) == 1  # of no requirement
    monkeypatch.setattr(package_tree, "UNPACKED", 2**20)
    for why, made in WRONG.items():
        with pytest.raises(ValueError, match=f"bad-1 cannot be built: of its wheel, .*{why}"):
            package_wheel.add(made, folder / "tree", ".", {"bad"}, sdist)
    assert sorted(p.name for p in (folder / "tree").rglob("*")) == before


def test_a_build_system_is_read_as_data(tmp_path):
    file = tmp_path / "pyproject.toml"
    assert package_wheel.read(tmp_path) == package_wheel.System(*package_wheel.LEGACY, ())
    file.write_text("[tool.x]\n")
    assert package_wheel.read(tmp_path) == package_wheel.System(*package_wheel.LEGACY, ())
    file.write_text(
        '[build-system]\nrequires = ["Foo_Bar [x] >= 1", "y; python_version > \'3\'"]\nbackend-path = [".", "a/.."]\n'
    )
    system = package_wheel.read(tmp_path)
    assert [r.replace(" ", "") for r in system.requires] == ["Foo_Bar[x]>=1", 'y;python_version>"3"']
    assert (system.backend, system.path) == (package_wheel.LEGACY[1], (".", "a/.."))
    (tmp_path / "link").symlink_to("/etc")
    for text, why in {
        "requires = 3": "requires is 3; allowed: a list of texts",
        "": "requires is None; allowed: a list of texts",
        'requires = ["x @ https://127.0.0.1/x.whl"]': "it wants 'x @ https://127.0.0.1/x.whl' for its build; allowed: names",
        'requires = ["https://127.0.0.1/x.whl"]': "allowed: names with versions, no URL, path or option",
        'requires = ["--index-url=http://127.0.0.1"]': "it wants '--index-url=http://127.0.0.1' for its build",
        'requires = ["./x"]': r"it wants '\./x'",
        'requires = []\nbuild-backend = "a b"': "build-backend is 'a b'; allowed: MODULE or MODULE:OBJECT",
        'requires = []\nbackend-path = ["../x"]': r"backend-path has '\.\./x'; allowed: directories of the tree",
        'requires = []\nbackend-path = ["/"]': "backend-path has '/'",
        'requires = []\nbackend-path = ["link"]': "backend-path has 'link'",
        "requires = [": "pyproject.toml cannot be read",
    }.items():
        file.write_text(f"[build-system]\n{text}\n")
        with pytest.raises(ValueError, match=why):
            package_wheel.read(tmp_path)
    file.write_text("build-system = 1\n")
    with pytest.raises(ValueError, match="build-system is 1; allowed: a table"):
        package_wheel.read(tmp_path)


def test_what_a_build_needs_comes_as_wheels_alone(index, backends, tmp_path, monkeypatch):
    pages, asked = index
    mark = tmp_path / "mark"
    assert list(package_wheel.fetch(()).iterdir()) == [] and not asked
    offer(pages, archive(tmp_path / "pack-1.tar.gz", {"setup.py": harm(mark)}))  # to install this would run it
    with pytest.raises(ValueError, match="its backend needs pack, and pip finds no wheels for that"):
        package_wheel.fetch(["pack"])
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InfraError, match="pip cannot fetch pack"):
        package_wheel.fetch(["pack"])
    assert len(list(backends.iterdir())) == 1 and not mark.exists()


def test_a_tree_gets_of_a_wheel_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(package_wheel, "LONGEST", 100)
    link = zipfile.ZipInfo("bad/link.py")
    link.external_attr = 0o120777 << 16
    about = "bad-1.dist-info"
    made = wheel({
        **INFO_OF_BAD, f"{about}/RECORD": "", f"{about}/licenses/LICENSE": "MIT", f"{about}/test_x.py": "", "other.py": "",
        "bad/__init__.py": "from elsewhere", "bad/new.py": "new", "bad/deep/stub.pyi": "", "bad/data.json": "{}",
        "bad/fast.so": "", "bad/x.pyc": "", "bad/x.pth": "", "bad/large.py": "#" * 101, "bad/tests/test_x.py": "",
        "bad/away/x.py": "", link: "new.py", "_bad.abi3.so": "",
    })  # fmt: skip
    root = tmp_path / "src"
    for path in ("bad/__init__.py", "bad.egg-info/PKG-INFO", "bad_other.egg-info/PKG-INFO", "else/y.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("of the tree")
    (root / "bad/away").symlink_to("../else")
    sdist = package.Sdist("bad", "1", tmp_path, "", "")
    added = package_wheel.add(made, tmp_path, "src", {"bad"}, sdist)
    assert added.files == ("src/bad/data.json", "src/bad/deep/stub.pyi", "src/bad/new.py")
    assert added.compiled == ("_bad.abi3.so", "bad/fast.so")
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert there - {p.removeprefix("src/") for p in added.files} == {
        "bad/__init__.py", "bad_other.egg-info/PKG-INFO", "else/y.py", f"{about}/METADATA", f"{about}/licenses/LICENSE",
    }  # fmt: skip
    assert (root / "bad/__init__.py").read_text() == "of the tree"


@pytest.mark.swe
def test_what_cannot_be_built_says_why_and_leaves_the_others(tmp_path, backends, capsys):
    bare = archive(tmp_path / "bare-1.tar.gz", {"PKG-INFO": "Name: bare\n", "bare.py": "x = 1\n"})
    future = archive(tmp_path / "future-1.tar.gz", {"PKG-INFO": "Requires-Python: >=9\n", "a.py": "", "test_a.py": ""})
    empty = archive(tmp_path / "empty-1.tar.gz", {"test_a.py": "def test_a():\n    pass\n"})
    own = archive(tmp_path / "iniconfig-99.tar.gz", {"iniconfig.py": "", "test_a.py": "def test_a():\n    pass\n"})
    bad = archive(tmp_path / "bad-1.tar.gz", in_tree(FAILING["raises"][0]))
    specs = [
        str(bare),
        str(future),
        str(empty),
        str(own),
        str(bad),
        str(tmp_path / "none-1.zip"),
        "a b",
        "x[y]",
        "-e x",
    ]
    out = tmp_path / "out"
    assert command.build(specs, out, "1=1", 0, [], "local", 60.0) == 1
    said = capsys.readouterr().out
    for why in (
        "bare-1.tar.gz has no tests; allowed: files test_*.py or *_test.py",
        "it is for Python >=9",
        "empty has no Python module",
        "iniconfig is needed to run tests and cannot be under test",
        "bad-1 cannot be built: KeyError: 'what is missing'",
        "none-1.zip is no file",
        "package is 'a b'; allowed: NAME, NAME==VERSION, or a file",
        "package is 'x[y]'",
        "package is '-e x'",
    ):
        assert why in said
    assert list(out.iterdir()) == []
    with pytest.raises(ValueError, match="needs has 'zz-none', which is not installed: pip install zz-none"):
        build_all([str(bare)], out, counts={1: 1}, needs=["zz-none"])
    with pytest.raises(ValueError, match="sandbox is 'fake'; allowed: 'local', 'docker'"):
        build_all([str(bare)], out, counts={1: 1}, sandbox="fake")
    for counts in ("", "1", "4=1", "1=0", "1=x"):
        with pytest.raises(UserError, match="--counts is"):
            command.parse_counts(counts)
    assert command.parse_counts("1=8,3=1") == {1: 8, 3: 1}


@pytest.mark.swe
def test_test_files_that_are_slow_or_never_the_same_are_left_out(tmp_path):
    name = "import random\n\nimport pytest\n\n\n@pytest.mark.parametrize('x', [random.random()])\ndef test_x(x):\n    pass\n"
    contents = {
        "test_quick.py": "def test_quick():\n    pass\n",
        "test_slow.py": "import time\n\n\ndef test_slow():\n    time.sleep(600)\n",
        "test_fickle.py": name,
    }
    for path, text in contents.items():
        (tmp_path / path).write_text(text)
    task = Task(Instance("x", "x", "", "", "", "", (), ()), str(tmp_path))
    with make("local", mounts={LIBRARY: str(library.folder())}) as provider:
        with provider.create(tmp_path, limits=Limits(timeout=3.0)) as box:
            kept, left, passed, _ = choose(box, task, sorted(contents), 8.0)
    assert (kept, passed) == (["test_quick.py"], 1) and sorted(left) == ["test_fickle.py", "test_slow.py"]
    assert left["test_slow.py"] == "it takes too long" and "in another run" in left["test_fickle.py"]


T = "evil-1.0"
HARM = {
    "dots": ([entry(f"{T}/../../x")], "leads out"),
    "absolute": ([entry("/tmp/milepost-evil")], "leads out"),
    "link": ([entry(f"{T}/a", tarfile.SYMTYPE, "/etc")], "a link that leads out"),
    "link up": ([entry(f"{T}/a", tarfile.SYMTYPE, "../../x")], "a link that leads out"),
    "through a link": ([entry(f"{T}/a", tarfile.SYMTYPE, "."), entry(f"{T}/a/x", size=1)], "is a link and a directory"),
    "hard link": ([entry(f"{T}/a", tarfile.LNKTYPE, "../../etc/passwd")], "leads out"),
    "device": ([entry(f"{T}/a", tarfile.CHRTYPE)], "device or pipe"),
    "pipe": ([entry(f"{T}/a", tarfile.FIFOTYPE)], "device or pipe"),
    "twice": ([entry(f"{T}/a"), entry(f"{T}/a")], "comes twice"),
    "bomb": ([entry(f"{T}/a", size=3 * 2**20)], "unpacks to more than"),
    "two tops": ([entry(f"{T}/a"), entry("other/a")], "2 entries at its top"),
    "no top": ([entry("a")], "1 entries at its top"),
}


def refused(path, folder, why):
    folder.mkdir()
    sdist = package.fetch(str(path), folder)
    with pytest.raises(ValueError, match=why):
        package_tree.unpack(sdist, folder / "tree")
    assert list(folder.iterdir()) == [] and not (folder.parent / "x").exists()


@pytest.mark.parametrize("which", HARM)
def test_archives_that_mean_harm_are_refused(which, tmp_path, monkeypatch):
    monkeypatch.setattr(package_tree, "UNPACKED", 2**20)
    members, why = HARM[which]
    refused(archive(tmp_path / f"{T}.tar.gz", {}, *members), tmp_path / "in", why)


def test_zip_files_too(tmp_path, monkeypatch):
    monkeypatch.setattr(package_tree, "UNPACKED", 2**20)
    link = zipfile.ZipInfo(f"{T}/a")
    link.external_attr = 0o120777 << 16
    cases = {
        "leads out": (f"{T}/../../x", ""),
        "a link that leads": (link, "/etc"),
        "more than": (f"{T}/a", "0" * 2**21),
    }
    for n, (why, (name, data)) in enumerate(cases.items()):
        (tmp_path / str(n)).mkdir()
        path = tmp_path / str(n) / f"{T}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(name, data)
        refused(path, tmp_path / str(n) / "in", why)
    path = tmp_path / "good-1.0.zip"
    inner = zipfile.ZipInfo("good-1.0/link")
    inner.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("good-1.0/a.py", "x = 1\n")
        z.writestr(inner, "a.py")
    package_tree.unpack(package.fetch(str(path), tmp_path), tmp_path / "tree")
    assert (tmp_path / "tree/link").read_text() == "x = 1\n" and (tmp_path / "tree/link").is_symlink()
    for name, data in (
        (f"{T}.zip", b"nothing"),
        (f"{T}.tar.gz", b"nothing"),
        ("f-1.tar.gz", gzip.compress(b"x" * 99)[:-9]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="cannot be unpacked"):
            package_tree.unpack(package.fetch(str(tmp_path / name), tmp_path), tmp_path / "none")


def test_the_newest_release_that_fits_comes_and_is_what_the_index_says(index, tmp_path):
    pages, asked = index
    one = archive(tmp_path / "pack-1.9.tar.gz", {"a.py": ""})
    rows = [
        {"filename": f, "url": f"/files/{f}", "hashes": {"sha256": hashlib.sha256(one.read_bytes()).hexdigest()}, **more}
        for f, more in [
            ("pack-1.10.tar.gz", {}), ("pack-1.9.tar.gz", {}), ("pack-2.0.tar.gz", {"requires-python": ">=9"}),
            ("pack-3.0rc1.tar.gz", {}), ("pack-4.0.tar.gz", {"yanked": "broken"}), ("pack-5.0-py3-none-any.whl", {}),
            ("packer-6.0.tar.gz", {}), ("pack-1.8.tar.gz", {"url": "file:///etc/passwd"}),
        ]
    ]  # fmt: skip
    pages["/simple/pack/"] = "application/vnd.pypi.simple.v1+json", json.dumps({"files": rows}).encode()
    pages["/files/pack-1.10.tar.gz"] = pages["/files/pack-4.0.tar.gz"] = "application/gzip", one.read_bytes()
    assert package.fetch("Pack", tmp_path).version == "1.10"
    assert package.fetch("pack==4.0", tmp_path).version == "4.0"  # who asks for it gets what was withdrawn
    pages["/files/pack-1.10.tar.gz"] = "application/gzip", b"something else"
    with pytest.raises(ValueError, match=r"its index says .*: it was changed on its way"):
        package.fetch("pack", tmp_path)
    with pytest.raises(ValueError, match=r"no source distribution of 'pack<1\.9' .* are of this name: 1\.9, 1\.10"):
        package.fetch("pack<1.9", tmp_path)
    with pytest.raises(InfraError, match=r"names .*/files/pack-3.0rc1.tar.gz but does not have it"):
        package.fetch("pack==3.0rc1", tmp_path)
    pages["/simple/pack/"] = 503
    with pytest.raises(InfraError, match="answers 503") as e:
        package.fetch("pack", tmp_path)
    assert "secret" not in str(e.value) and {a for _, a in asked} == {"Basic c29tZWJvZHk6c2VjcmV0"}
    pages["/simple/pack/"] = "application/json", b"{}"
    with pytest.raises(ValueError, match="is no page of a package index"):
        package.fetch("pack", tmp_path)


def test_an_index_that_cannot_be_reached_is_no_missing_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(InfraError, match=r"cannot be reached at http://127.0.0.1:9/simple/pack/"):
        package.fetch("pack", tmp_path)
    (tmp_path / "index/pack").mkdir(parents=True)
    sdist = archive(tmp_path / "pack-1.tar.gz", {"a.py": ""})
    (tmp_path / "index/pack/index.html").write_text(f'<a href="{sdist.as_uri()}">pack</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    (tmp_path / "in").mkdir()
    assert package.fetch("pack", tmp_path / "in").version == "1"
    with pytest.raises(ValueError, match="no source distribution of 'other'"):
        package.fetch("other", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InfraError, match="no package index is known"):
        package.fetch("pack", tmp_path)


def test_what_is_imported_is_found_without_importing(tmp_path):
    for path, text in {
        "pack/__init__.py": "", "pack/core.py": "", "pack/bad.py": "print 1\n", "pack/_version.py": "", "setup.py": "",
        "pack/tests/test_core.py": "import hypothesis, numpy.linalg\nfrom . import x\nimport helper, pack, tests.helper\n"
        "try:\n    import zz_a\nexcept ImportError:\n    import zz_b\n\n\ndef test():\n    import zz_c\n",
        "pack/tests/helper.py": "", "docs/conf.py": "", "conftest.py": "import pytest, sys\n",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    roots, own = package_tree.layout(tmp_path, "pack")
    assert (roots, own) == ((".",), {"pack"})
    assert package_tree.sources(tmp_path, roots, own) == ["pack/__init__.py", "pack/core.py"]
    there, missing = package_tree.imported(tmp_path, ["pack/tests/test_core.py"], own)
    assert (there, missing) == ({"hypothesis", "numpy", "pytest"}, {"zz_a", "zz_b"})
    (tmp_path / "src").mkdir()
    (tmp_path / "src/other.py").write_text("")
    assert package_tree.layout(tmp_path, "pack") == (("src", "."), {"other"})


def test_licences_and_requirements_are_read_as_data(tmp_path):
    rows = "Requires-Dist: Foo_Bar>=1\nRequires-Dist: x; extra == 'test'\nRequires-Dist: y; python_version < '3'\n"
    for said, licence in {
        "License-Expression: MIT OR Apache-2.0\nLicense: long\n": "MIT OR Apache-2.0",
        "License: BSD\n": "BSD",
        "License: UNKNOWN\nClassifier: License :: OSI Approved :: ISC License (ISCL)\n": "ISC License (ISCL)",
        "": "not stated: see its files",
    }.items():
        (tmp_path / "PKG-INFO").write_text(said + rows)
        assert package.about(tmp_path) == package.About(licence, ("foo-bar",))


@pytest.mark.full
@pytest.mark.swe
@pytest.mark.timeout(3000)
def test_ten_packages_of_the_index(tmp_path):
    names = "inflection isodate parse schema cachetools pathspec tabulate boltons markupsafe first".split()
    rows = build_all(names, tmp_path, counts={1: 1, 2: 1}, say=lambda line: print(line, file=sys.stderr))
    assert {r.name: r.error for r in rows if not r.instances} == {}
    assert {i.extra["package"] for i in load(tmp_path / "instances.jsonl")} == set(names)
