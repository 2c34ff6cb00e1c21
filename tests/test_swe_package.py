"""Tasks from packages: a distribution that is written here and served on loopback, hostile archives, and (full) PyPI's."""

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
from milepost.envs.swe import library, package, package_tree
from milepost.envs.swe.bugrepair import BugRepairEnv
from milepost.envs.swe.grade import LIBRARY
from milepost.envs.swe.instance import Instance, load
from milepost.envs.swe.packages_build import build_all, choose
from milepost.envs.swe.task import Task
from milepost.sandboxes import Limits, make

SUBMIT = '{"name": "submit", "arguments": {}}'
INFO = "Metadata-Version: 2.1\nName: pebble-stats\nVersion: 1.2\nLicense-Expression: MIT\nRequires-Python: >=3.8\n"
CODE = """from importlib.metadata import version

from ._version import __version__

assert version("pebble-stats") == __version__


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
TOML = '[build-system]\nrequires = ["hatchling"]\n[tool.hatch.build.hooks.vcs]\nversion-file = "src/pebble_stats/_version.py"\n'


def files(mark):
    """A distribution each of whose files leaves a mark on the machine when it is run there."""
    harm = f"try:\n    open({str(mark)!r}, 'w').close()\nexcept OSError:\n    pass\n"
    return {
        "PKG-INFO": INFO, "pyproject.toml": TOML, "setup.py": harm, "src/pebble_stats/__init__.py": CODE + harm,
        "tests/__init__.py": "", "tests/conftest.py": harm, "tests/test_stats.py": TESTS + harm,
        "tests/test_more.py": "import zz_not_there\n\n\ndef test_more():\n    pass\n",
        ".git/config": "", "src/pebble_stats/__pycache__/x.pyc": "",
    }  # fmt: skip


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
    monkeypatch.setenv("PIP_INDEX_URL", f"http://somebody:secret@127.0.0.1:{http.server_port}/simple")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield pages, asked
    http.shutdown()
    http.server_close()
    thread.join(5)


def offer(pages, path, sha256=None, text=None):
    """Puts an archive and its page (PEP 503) into the index."""
    name, data = path.name.rpartition("-")[0].replace("_", "-"), path.read_bytes()
    digest = sha256 or hashlib.sha256(data).hexdigest()
    page = (
        text
        or f'<!DOCTYPE html><a href="../../files/{path.name}#sha256={digest}" data-requires-python="&gt;=3.8">x</a>'
    )
    pages[f"/simple/{name}/"] = "text/html", page.encode()
    pages[f"/files/{path.name}"] = "application/gzip", data


@pytest.mark.swe
def test_tasks_of_a_distribution_that_is_written_here(index, tmp_path, capsys):
    mark, out = tmp_path / "mark", tmp_path / "out"
    sdist = archive(tmp_path / "pebble_stats-1.2.tar.gz", files(mark))
    offer(index[0], sdist)
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

    again = tmp_path / "again"  # from a file, as there is no network now
    assert build_all([str(sdist)], again, counts={1: 2})[0].error == ""
    assert (again / "instances.jsonl").read_bytes() == (out / "instances.jsonl").read_bytes()
    assert not mark.exists(), "something of the distribution ran on the machine"


@pytest.mark.swe
def test_what_cannot_be_built_says_why_and_leaves_the_others(tmp_path, capsys):
    bare = archive(tmp_path / "bare-1.tar.gz", {"PKG-INFO": "Name: bare\n", "bare.py": "x = 1\n"})
    future = archive(tmp_path / "future-1.tar.gz", {"PKG-INFO": "Requires-Python: >=9\n", "a.py": "", "test_a.py": ""})
    empty = archive(tmp_path / "empty-1.tar.gz", {"test_a.py": "def test_a():\n    pass\n"})
    own = archive(tmp_path / "iniconfig-99.tar.gz", {"iniconfig.py": "", "test_a.py": "def test_a():\n    pass\n"})
    specs = [str(bare), str(future), str(empty), str(own), str(tmp_path / "none-1.zip"), "a b", "x[y]", "-e x"]
    out = tmp_path / "out"
    assert command.build(specs, out, "1=1", 0, [], "local", 60.0) == 1
    said = capsys.readouterr().out
    for why in (
        "bare-1.tar.gz has no tests; allowed: files test_*.py or *_test.py",
        "it is for Python >=9",
        "empty has no Python module",
        "iniconfig is needed to run tests and cannot be under test",
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
        package.unpack(sdist, folder / "tree")
    assert list(folder.iterdir()) == [] and not (folder.parent / "x").exists()


@pytest.mark.parametrize("which", HARM)
def test_archives_that_mean_harm_are_refused(which, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "UNPACKED", 2**20)
    members, why = HARM[which]
    refused(archive(tmp_path / f"{T}.tar.gz", {}, *members), tmp_path / "in", why)


def test_zip_files_too(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "UNPACKED", 2**20)
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
    package.unpack(package.fetch(str(path), tmp_path), tmp_path / "tree")
    assert (tmp_path / "tree/link").read_text() == "x = 1\n" and (tmp_path / "tree/link").is_symlink()
    for name, data in (
        (f"{T}.zip", b"nothing"),
        (f"{T}.tar.gz", b"nothing"),
        ("f-1.tar.gz", gzip.compress(b"x" * 99)[:-9]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match="cannot be unpacked"):
            package.unpack(package.fetch(str(tmp_path / name), tmp_path), tmp_path / "none")


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
